/** Operations on snapshots, of machines and of volumes. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Snapshot } from "#contract/resources/other.ts";
import type { NewEvent, State, StoredMachine } from "#control/model/state.ts";
import { demandAbility, keepsState } from "./capabilities.ts";
import { demand, machineOf, view, type Deps, type Handlers } from "./handler.ts";
import { cannot } from "./kernels.ts";
import { demandAtRest, usersOf, volumeOf, volumeView } from "./volumes.ts";

type Names =
  | "listSnapshots"
  | "createSnapshot"
  | "restoreSnapshot"
  | "removeSnapshot"
  | "listVolumeSnapshots"
  | "createVolumeSnapshot"
  | "restoreVolumeSnapshot"
  | "removeVolumeSnapshot";
type Owner = { id: string; name: string };
type Asked = { params: Record<string, string>; token: { id: string } };

export const snapshotHandlers: Pick<Handlers, Names> = {
  listSnapshots: ({ store }, { params }) => ({ items: snapshotsOf(store.state, machineOf(store.state, params).id), next: null }),
  createSnapshot(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    demand(machine, "snapshot");
    demandAbility(machine, request.body.memory ? "memorySnapshots" : "diskSnapshots");
    if (request.body.memory && machine.spec.kernel) throw cannot(machine, "get its memory ready to be kept", "memory");
    if (request.body.memory && machine.spec.devices.length) throw keepsState(machine, "memory");
    if (request.body.memory) checkMemory(machine);
    return create(deps, machine, request, request.body);
  },
  restoreSnapshot({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "restore");
    const data = { snapshot: readySnapshot(store.state, machine, params.snapshot).id, epoch: machine.epoch + 1 };
    return {
      events: [{ type: "v1.MachineRestoreRequested", subject: machine.id, actor: token.id, data }],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
  removeSnapshot: (deps, request) => remove(deps, machineOf(deps.store.state, request.params), request),

  listVolumeSnapshots: ({ store }, { params }) => ({ items: snapshotsOf(store.state, volumeOf(store.state, params).id), next: null }),
  createVolumeSnapshot(deps, request) {
    const volume = volumeOf(deps.store.state, request.params);
    if (volume.state !== "ready")
      throw new HyperlaneError("STATE", `The volume "${volume.name}" is ${volume.state}, so there is nothing to keep.`, {
        hint: "It is made when a machine first mounts it.",
      });
    if (request.body.memory) throw new HyperlaneError("INVALID", "A volume has no memory to keep.", { field: "memory" });
    return create(deps, volume, request, request.body);
  },
  restoreVolumeSnapshot({ store }, { params, token }) {
    const volume = volumeOf(store.state, params);
    demandAtRest(store.state, volume);
    const data = { snapshot: readySnapshot(store.state, volume, params.snapshot).id, epoch: (volume.restore?.epoch ?? 0) + 1 };
    return {
      events: [{ type: "v1.VolumeRestoreRequested", subject: volume.id, actor: token.id, data }],
      result: () => volumeView(store.state.volume.get(volume.id)!, usersOf(store.state)),
    };
  },
  removeVolumeSnapshot: (deps, request) => remove(deps, volumeOf(deps.store.state, request.params), request),
};

/** What is kept together must have been so at one moment. */
function checkMemory({ name, state, spec }: StoredMachine): void {
  if (state === "stopped")
    throw new HyperlaneError("STATE", `"${name}" does not run, so it has no memory to keep.`, { hint: "Leave --memory out." });
  const other = spec.mounts.find((m) => m.folder !== null || !m.readonly);
  if (other)
    throw new HyperlaneError(
      "UNSUPPORTED",
      `"${name}" writes to "${other.volume ?? other.folder}", which would not go back with its memory.`,
      { hint: other.volume === null ? "Leave --memory out." : `Leave --memory out, or first: vps volume detach ${other.volume} ${name}` },
    );
}

function create(
  { store, newId, now }: Deps,
  owner: Owner,
  { token }: Asked,
  { name: asked, memory }: { name?: string | undefined; memory: boolean },
) {
  const name = asked ?? `s${new Date(now()).toISOString().slice(0, 19).replace(/[-:T]/g, "")}`;
  if (snapshotsOf(store.state, owner.id).some((s) => s.name === name))
    throw new HyperlaneError("CONFLICT", `"${owner.name}" has a snapshot named "${name}" already.`, { field: "name" });
  const id = newId("s");
  const events: NewEvent[] = [{ type: "v1.SnapshotRequested", subject: id, actor: token.id, data: { name, of: owner.id, memory } }];
  return { events, result: () => store.state.snapshot.get(id)! };
}

function remove({ store }: Deps, owner: Owner, { params, token }: Asked) {
  const snapshot = findSnapshot(store.state, owner, params.snapshot);
  const events: NewEvent[] =
    snapshot.state === "removing"
      ? []
      : [{ type: "v1.SnapshotRemoveRequested", subject: snapshot.id, actor: token.id, data: { of: owner.id } }];
  return { events, result: () => store.state.snapshot.get(snapshot.id)! };
}

function snapshotsOf(state: State, owner: string): Snapshot[] {
  return [...(state.snapshotsOf.get(owner) ?? [])].map((id) => state.snapshot.get(id)!).sort((a, b) => a.createdAt - b.createdAt);
}

export function readySnapshot(state: State, owner: Owner, nameOrId: string | undefined): Snapshot {
  const snapshot = findSnapshot(state, owner, nameOrId);
  if (snapshot.state !== "ready")
    throw new HyperlaneError("STATE", `The snapshot "${snapshot.name}" is ${snapshot.state}, so there is nothing to go back to.`);
  return snapshot;
}

function findSnapshot(state: State, owner: Owner, nameOrId = ""): Snapshot {
  const found = snapshotsOf(state, owner.id).find((s) => s.name === nameOrId || s.id === nameOrId);
  if (!found)
    throw new HyperlaneError("NOT_FOUND", `"${owner.name}" has no snapshot "${nameOrId}".`, {
      hint: `\`vps snapshot list ${owner.id.startsWith("v-") ? "--volume " : ""}${owner.name}\` shows all.`,
    });
  return found;
}
