import { HyperlaneError } from "#contract/errors.ts";
import type { Snapshot } from "#contract/resources/other.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";
import type { Client } from "#sdk/client.ts";
import { age } from "./machines.ts";

const FLAGS = {
  volume: { type: "boolean", help: "NAME is a volume's, and not a machine's" },
  json: JSON_FLAG,
} as const;

/** The operations on the snapshots of a machine, or with --volume of a volume. */
function snapshotsOf({ flags, args }: Pick<Context, "flags" | "args">, client: Client) {
  const name = args[0]!;
  if (flags.volume)
    return {
      name,
      list: () => client.listVolumeSnapshots({ params: { volume: name } }),
      create: (body: { name?: string; memory: boolean }) => client.createVolumeSnapshot({ params: { volume: name }, body }),
      remove: (snapshot: string) => client.removeVolumeSnapshot({ params: { volume: name, snapshot } }),
    };
  return {
    name,
    list: () => client.listSnapshots({ params: { machine: name } }),
    create: (body: { name?: string; memory: boolean }) => client.createSnapshot({ params: { machine: name }, body }),
    remove: (snapshot: string) => client.removeSnapshot({ params: { machine: name, snapshot } }),
  };
}

export const snapshot: Command = {
  name: "snapshot",
  usage: "vps snapshot NAME [SNAPSHOT]",
  summary: "Keep a machine's disk, or a volume, as it is now",
  examples: [
    "vps snapshot api-prod",
    "vps snapshot api-prod before-upgrade",
    "vps snapshot api-prod warm --memory      # as it stands, with all that runs in it",
    "vps snapshot --volume data nightly",
  ],
  args: [1, 2],
  complete: "machine",
  flags: { memory: { type: "boolean", help: "Its memory too: back to it, it goes on where it was" }, ...FLAGS },
  async run(ctx) {
    const { args, flags, out } = ctx;
    const of = snapshotsOf(ctx, ctx.client());
    let s: Snapshot = await of.create({ ...(args[1] !== undefined && { name: args[1] }), memory: flags.memory === true });
    while (s.state === "creating") {
      await Bun.sleep(50);
      s = (await of.list()).items.find((x) => x.id === s.id) ?? s;
    }
    if (s.state === "failed") throw new HyperlaneError("FAILED", `The snapshot failed: ${s.reason}`);
    out.done(`Snapshot ${s.name} of ${of.name}${s.memory ? " with its memory" : ""} (${Math.round(s.bytes / 2 ** 20)} MiB)`);
    out.line(`→ Back to it: vps snapshot restore ${flags.volume ? "--volume " : ""}${of.name} ${s.name}`);
    out.data(s);
  },
};

export const snapshotList: Command = {
  name: "snapshot list",
  usage: "vps snapshot list NAME",
  summary: "List a machine's or a volume's snapshots",
  examples: ["vps snapshot list api-prod", "vps snapshot list --volume data"],
  args: [1, 1],
  complete: "machine",
  flags: FLAGS,
  async run(ctx) {
    const { args, flags, out } = ctx;
    const { items } = await snapshotsOf(ctx, ctx.client()).list();
    out.data(items);
    if (!items.length) return out.line(`No snapshots. Take one: vps snapshot ${flags.volume ? "--volume " : ""}${args[0]}`);
    out.table(
      ["NAME", "STATE", "OF", "SIZE", "AGE"],
      items.map((s) => [s.name, s.state, s.memory ? "disk, memory" : "disk", `${Math.round(s.bytes / 2 ** 20)}M`, age(s.createdAt)]),
    );
  },
};

export const snapshotRestore: Command = {
  name: "snapshot restore",
  usage: "vps snapshot restore NAME SNAPSHOT",
  summary: "Put a machine's disk back, which restarts it; or a volume that no running machine has",
  examples: ["vps snapshot restore api-prod before-upgrade", "vps snapshot restore --volume data nightly"],
  args: [2, 2],
  complete: "machine",
  flags: FLAGS,
  async run({ client, args, flags, out }) {
    const [name, snapshot] = args as [string, string];
    if (flags.volume) {
      let v = await client().restoreVolumeSnapshot({ params: { volume: name, snapshot } });
      for (; v.observed?.restoredEpoch !== v.restore?.epoch; await Bun.sleep(50)) {
        v = await client().getVolume({ params: { volume: name } });
        if (v.state === "failed") throw new HyperlaneError("FAILED", `The volume "${name}" could not be put back: ${v.reason}`);
      }
      out.done(`${name} is back at ${snapshot}`);
      return out.data(v);
    }
    const asked = await client().restoreSnapshot({ params: { machine: name, snapshot } });
    const m = await waitFor(
      client(),
      asked.id,
      out,
      (x) => x.observed?.restoredEpoch === x.restore?.epoch && x.observed?.epoch === x.epoch && x.state === x.power,
    );
    out.done(`${m.name} is back at ${snapshot}`);
    out.data(m);
  },
};

export const snapshotRm: Command = {
  name: "snapshot rm",
  usage: "vps snapshot rm NAME SNAPSHOT",
  summary: "Remove a snapshot",
  examples: ["vps snapshot rm api-prod before-upgrade", "vps snapshot rm --volume data nightly"],
  args: [2, 2],
  complete: "machine",
  flags: FLAGS,
  async run(ctx) {
    const s = await snapshotsOf(ctx, ctx.client()).remove(ctx.args[1]!);
    ctx.out.done(`Snapshot ${s.name} is removed`);
    ctx.out.data(s);
  },
};
