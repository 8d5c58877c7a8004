/** Events of snapshots, of machines and of volumes. */
import { invariant } from "#contract/errors.ts";
import { linkSnapshot } from "./snapshots-of.ts";
import type { Reducers, State, Touched } from "./state.ts";

export type SnapshotEvents = {
  "v1.SnapshotRequested": { name: string; of: string; memory: boolean };
  "v1.SnapshotObserved": { state: "ready" | "failed"; bytes: number; reason: string | null };
  "v1.SnapshotRemoveRequested": { of: string };
  "v1.SnapshotRemoved": Record<string, never>;
};

export const snapshotReducers: Reducers<SnapshotEvents> = {
  "v1.SnapshotRequested": (state, e) => {
    const snapshot = { id: e.subject, ...e.data, state: "creating" as const, bytes: 0, reason: null, createdAt: e.at };
    state.snapshot.set(e.subject, snapshot);
    linkSnapshot(state, snapshot);
    return [["snapshot", e.subject], ...revise(state, e.data.of, e.seq)];
  },
  "v1.SnapshotObserved": (state, e) => patch(state, e.subject, e.data),
  "v1.SnapshotRemoveRequested": (state, e) => [...patch(state, e.subject, { state: "removing" }), ...revise(state, e.data.of, e.seq)],
  "v1.SnapshotRemoved": (state, e) => {
    const snapshot = state.snapshot.get(e.subject);
    if (snapshot) state.snapshotsOf.get(snapshot.of)?.delete(e.subject);
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

/** What is desired of its owner has changed, so the agent must hear of it. */
function revise(state: State, of: string, seq: number): Touched {
  const machine = state.machine.get(of);
  const volume = state.volume.get(of);
  if (machine) state.machine.set(of, { ...machine, revision: seq });
  if (volume) state.volume.set(of, { ...volume, revision: seq });
  return machine ? [["machine", of]] : volume ? [["volume", of]] : [];
}
