/** Operations on volumes, and on what is mounted where. */
import { HyperlaneError } from "#contract/errors.ts";
import { nearest } from "#contract/nearest.ts";
import { formatMib } from "#contract/size.ts";
import { isBelow, MOUNTS_MAX, type Mount, type Volume } from "#contract/resources/volume.ts";
import type { NewEvent, State, StoredMachine, StoredVolume } from "#control/model/state.ts";
import { demand, machineOf, view, type Handlers } from "./handler.ts";

type Names =
  "listVolumes" | "createVolume" | "getVolume" | "updateVolume" | "removeVolume" | "pruneVolumes" | "mountVolume" | "unmountVolume";

export const volumeHandlers: Pick<Handlers, Names> = {
  listVolumes({ store }) {
    const users = usersOf(store.state);
    const items = [...store.state.volume.values()].map((v) => volumeView(v, users));
    return { items: items.sort((a, b) => (a.name < b.name ? -1 : 1)), next: null };
  },
  createVolume({ store, newId }, { body, token }) {
    if (store.state.volumeNames.has(body.name))
      throw new HyperlaneError("CONFLICT", `A volume named "${body.name}" is there already.`, {
        field: "name",
        hint: `\`vps volume inspect ${body.name}\` shows it.`,
      });
    const id = newId("v");
    return {
      events: [{ type: "v1.VolumeRequested", subject: id, actor: token.id, data: body }],
      result: () => volumeView(store.state.volume.get(id)!, usersOf(store.state)),
    };
  },
  getVolume: ({ store }, { params }) => volumeView(volumeOf(store.state, params), usersOf(store.state)),
  updateVolume({ store }, { params, body, token }) {
    const volume = volumeOf(store.state, params);
    demandThere(volume);
    const { sizeMib = volume.sizeMib, labels = volume.labels } = body;
    if (sizeMib < volume.sizeMib)
      throw new HyperlaneError("INVALID", `The volume "${volume.name}" has ${formatMib(volume.sizeMib)}, and a volume only grows.`, {
        field: "sizeMib",
        hint: "Make a smaller one, and copy what is in this one over.",
      });
    const same = sizeMib === volume.sizeMib && JSON.stringify(labels) === JSON.stringify(volume.labels);
    return {
      events: same ? [] : [{ type: "v1.VolumeChanged", subject: volume.id, actor: token.id, data: { sizeMib, labels } }],
      result: () => volumeView(store.state.volume.get(volume.id)!, usersOf(store.state)),
    };
  },
  removeVolume({ store }, { params, token }) {
    const volume = volumeOf(store.state, params);
    const users = usersOf(store.state).get(volume.name) ?? [];
    if (users.length)
      throw new HyperlaneError("CONFLICT", `The volume "${volume.name}" is used by ${users.map((u) => u.machine).join(", ")}.`, {
        hint: `Take it away first: vps volume detach ${volume.name} ${users[0]!.machine}`,
      });
    const events: NewEvent[] =
      volume.state === "removing" ? [] : [{ type: "v1.VolumeRemoveRequested", subject: volume.id, actor: token.id, data: {} }];
    return { events, result: () => volumeView(store.state.volume.get(volume.id) ?? volume, new Map()) };
  },
  pruneVolumes({ store }, { token }) {
    const users = usersOf(store.state);
    const unused = [...store.state.volume.values()].filter((v) => v.state !== "removing" && !users.has(v.name));
    const result = { removed: unused.map((v) => v.name).sort(), freedBytes: unused.reduce((n, v) => n + (v.observed?.bytes ?? 0), 0) };
    return {
      events: unused.map((v) => ({ type: "v1.VolumeRemoveRequested", subject: v.id, actor: token.id, data: {} })),
      result: () => result,
    };
  },
  mountVolume({ store }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "mount");
    const mounts = machine.spec.mounts;
    const there = mounts.some((m) => JSON.stringify(m) === JSON.stringify(body));
    if (!there) {
      const clash = mounts.find((m) => m.path === body.path || (m.volume !== null && m.volume === body.volume));
      if (clash)
        throw new HyperlaneError("CONFLICT", `"${machine.name}" has ${clash.volume ?? clash.folder} at ${clash.path} already.`, {
          field: "path",
        });
      if (mounts.length === MOUNTS_MAX)
        throw new HyperlaneError("TOO_LARGE", `"${machine.name}" has ${MOUNTS_MAX} mounts already, which is the most.`);
      checkMounts(store.state, [...mounts, body], machine);
    }
    const events: NewEvent[] = there ? [] : [{ type: "v1.MachineMounted", subject: machine.id, actor: token.id, data: body }];
    const volume = body.volume === null ? undefined : volumeOf(store.state, { volume: body.volume });
    if (volume?.node === null && machine.node !== null)
      events.push({ type: "v1.VolumePlaced", subject: volume.id, actor: token.id, data: { node: machine.node } });
    return { events, result: () => view(store.state.machine.get(machine.id)!) };
  },
  unmountVolume({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "mount");
    const volume = params.volume ?? "";
    return {
      events: machine.spec.mounts.some((m) => m.volume === volume)
        ? [{ type: "v1.MachineUnmounted", subject: machine.id, actor: token.id, data: { volume } }]
        : [],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
};

/** Whether a machine may have these; machine: the one that they are for, where it is there already. */
export function checkMounts(state: State, mounts: readonly Mount[], machine: StoredMachine | null): void {
  let node = machine?.node ?? null;
  for (const mount of mounts) {
    if (mount.folder !== null) checkFolder(state, mount.folder);
    if (mount.volume === null) continue;
    const volume = volumeOf(state, { volume: mount.volume });
    demandThere(volume);
    for (const other of state.machine.values()) {
      if (other.id === machine?.id || other.destroying) continue;
      const theirs = other.spec.mounts.find((m) => m.volume === mount.volume);
      if (theirs && !(theirs.readonly && mount.readonly))
        throw new HyperlaneError(
          "CONFLICT",
          `The volume "${mount.volume}" is mounted by "${other.name}"${theirs.readonly ? ", and only to be read" : ""}: one machine may write to a volume, or many read it.`,
          { field: "mounts", hint: `Take it away there: vps volume detach ${mount.volume} ${other.name}` },
        );
    }
    if (volume.node === null) continue;
    if (node !== null && node !== volume.node)
      throw new HyperlaneError("CONFLICT", `The volume "${mount.volume}" is on another node than this machine or its other volumes.`, {
        field: "mounts",
      });
    node = volume.node;
  }
}

function checkFolder(state: State, folder: string): void {
  const allowed = [...state.node.values()].flatMap((n) => n.status?.folders ?? []);
  if (isBelow(folder, allowed) && !folder.split("/").includes("..")) return;
  throw new HyperlaneError("FORBIDDEN", `No node lets machines mount "${folder}".`, {
    field: "mounts",
    hint: allowed.length
      ? `Folders below ${[...new Set(allowed)].join(", ")} are allowed.`
      : `Whoever runs the node allows it: hyperlane init --allow-folder ${folder}`,
  });
}

function demandThere(volume: StoredVolume): void {
  if (volume.state === "removing") throw new HyperlaneError("STATE", `The volume "${volume.name}" is being removed.`);
}

/** What it holds may be replaced: every machine that mounts it is stopped. */
export function demandAtRest(state: State, volume: StoredVolume): void {
  for (const m of state.machine.values())
    if (m.state !== "stopped" && m.spec.mounts.some((x) => x.volume === volume.name))
      throw new HyperlaneError("STATE", `The volume "${volume.name}" is mounted by "${m.name}", which is ${m.state}.`, {
        hint: `Stop it first: vps stop ${m.name}`,
      });
}

export function volumeOf(state: State, { volume: name = "" }: Record<string, string>): StoredVolume {
  const found = state.volume.get(state.volumeNames.get(name) ?? name);
  if (found) return found;
  const near = nearest(name, state.volumeNames.keys());
  throw new HyperlaneError("NOT_FOUND", `There is no volume "${name}".`, {
    hint: near === undefined ? `Make it: vps volume create ${name}` : `Did you mean "${near}"? \`vps volume list\` shows all.`,
  });
}

type Users = Map<string, Volume["usedBy"]>;

/** By volume's name. */
export function usersOf(state: State): Users {
  const users: Users = new Map();
  for (const m of state.machine.values())
    for (const { volume, path, readonly } of m.spec.mounts)
      if (volume !== null) users.set(volume, [...(users.get(volume) ?? []), { machine: m.name, path, readonly }]);
  return users;
}

export function volumeView({ made: _, ...volume }: StoredVolume, users: Users): Volume {
  return { ...volume, usedBy: users.get(volume.name) ?? [] };
}
