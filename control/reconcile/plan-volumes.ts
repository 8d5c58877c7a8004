/** The planner's part for volumes. A volume is placed with the first machine that mounts it, and its later ones follow it. Pure. */
import type { State, StoredMachine, StoredVolume } from "#control/model/state.ts";
import { fact, mustHear, snapshots, type Action, type World } from "./plan-facts.ts";

export function planVolumes(world: World): Action[] {
  const { state } = world;
  const actions: Action[] = [];
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

/** Where a machine's volumes are: by id, with null for one that is nowhere yet. placed: those placed in this very pass. */
export function nodesOfVolumes(m: StoredMachine, state: State, placed: ReadonlyMap<string, string>): Map<string, string | null> {
  const nodes = new Map<string, string | null>();
  for (const { volume } of m.spec.mounts) {
    const found: StoredVolume | undefined = volume === null ? undefined : state.volume.get(state.volumeNames.get(volume) ?? "");
    if (found) nodes.set(found.id, found.node ?? placed.get(found.id) ?? null);
  }
  return nodes;
}
