/** Which snapshots a machine or a volume has. */
import type { Snapshot } from "#contract/resources/other.ts";
import type { State, Touched } from "./state.ts";

export function linkSnapshot(state: State, snapshot: Snapshot): void {
  const ids = state.snapshotsOf.get(snapshot.of) ?? new Set();
  state.snapshotsOf.set(snapshot.of, ids.add(snapshot.id));
}

/** With their owner, its snapshots go. */
export function forgetSnapshots(state: State, of: string): Touched {
  const ids = [...(state.snapshotsOf.get(of) ?? [])];
  for (const id of ids) state.snapshot.delete(id);
  state.snapshotsOf.delete(of);
  return ids.map((id) => ["snapshot", id] as const) as Touched;
}
