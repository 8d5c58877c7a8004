/** Events of snapshots. */
import { invariant } from "#contract/errors.ts";
import { linkSnapshot, type Reducers, type State, type Touched } from "./state.ts";

export type SnapshotEvents = {
  "v1.SnapshotRequested": { name: string; machine: string };
  "v1.SnapshotObserved": { state: "ready" | "failed"; bytes: number; reason: string | null };
  "v1.SnapshotRemoveRequested": { machine: string };
  "v1.SnapshotRemoved": Record<string, never>;
};

export const snapshotReducers: Reducers<SnapshotEvents> = {
  "v1.SnapshotRequested": (state, e) => {
    const snapshot = { id: e.subject, ...e.data, state: "creating" as const, bytes: 0, reason: null, createdAt: e.at };
    state.snapshot.set(e.subject, snapshot);
    linkSnapshot(state, snapshot);
    return [["snapshot", e.subject], ...revise(state, e.data.machine, e.seq)];
  },
  "v1.SnapshotObserved": (state, e) => patch(state, e.subject, e.data),
  "v1.SnapshotRemoveRequested": (state, e) => [...patch(state, e.subject, { state: "removing" }), ...revise(state, e.data.machine, e.seq)],
  "v1.SnapshotRemoved": (state, e) => {
    const snapshot = state.snapshot.get(e.subject);
    if (snapshot) state.snapshotsOf.get(snapshot.machine)?.delete(e.subject);
    state.snapshot.delete(e.subject);
    return [["snapshot", e.subject]];
  },
};

function patch(state: State, id: string, fields: object): Touched {
  const snapshot = state.snapshot.get(id);
  invariant(snapshot, `event about a snapshot that is not there: ${id}`);
  state.snapshot.set(id, { ...snapshot, ...fields });
  return [["snapshot", id]];
}

/** What is desired of the machine has changed, so its agent must hear of it. */
function revise(state: State, machineId: string, seq: number): Touched {
  const machine = state.machine.get(machineId);
  if (!machine) return [];
  state.machine.set(machineId, { ...machine, revision: seq });
  return [["machine", machineId]];
}
