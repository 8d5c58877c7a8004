/** The planner's part for volumes. A volume is placed by the first machine that mounts it, and that machine's later ones follow it. Pure. */
import type { State, StoredMachine, StoredVolume } from "#control/model/state.ts";
import { fact, mustHear, snapshots, type Action, type World } from "./plan.ts";

export function planVolumes(world: World): Action[] {
  const { state } = world;
  if (!state.volume.size) return [];
  const actions: Action[] = [];
  const placed = new Set<string>();
  for (const m of state.machine.values())
    for (const v of m.node === null ? [] : volumesOf(m, state)) {
      if (v.node !== null || placed.has(v.id)) continue;
      placed.add(v.id);
      actions.push({ kind: "append", event: fact("v1.VolumePlaced", v.id, { node: m.node! }) });
    }
  for (const v of state.volume.values()) {
    const gone = v.node === null || (v.observed?.state === "absent" && v.observed.revision >= v.revision);
    if (v.state === "removing" && gone) actions.push({ kind: "append", event: fact("v1.VolumeRemoved", v.id, {}) });
    else if (v.node !== null) {
      if (state.snapshotsOf.has(v.id)) actions.push(...snapshots(v, state));
      if (mustHear(v, v.node, world)) actions.push({ kind: "applyVolume", node: v.node, volume: v.id, revision: v.revision });
    }
  }
  return actions;
}

function volumesOf(m: StoredMachine, state: State): StoredVolume[] {
  return m.spec.mounts.flatMap(({ volume }) => {
    const found = volume === null ? undefined : state.volume.get(state.volumeNames.get(volume) ?? "");
    return found ? [found] : [];
  });
}

/** The node that has a machine's volumes; null: none has, yet. */
export function nodeOfVolumes(m: StoredMachine, state: State): string | null {
  return volumesOf(m, state).find((v) => v.node !== null)?.node ?? null;
}
