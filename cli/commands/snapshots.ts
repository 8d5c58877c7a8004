import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";
import { age } from "./machines.ts";

export const snapshot: Command = {
  name: "snapshot",
  usage: "vps snapshot NAME [SNAPSHOT]",
  summary: "Keep a machine's disk as it is now",
  examples: ["vps snapshot api-prod", "vps snapshot api-prod before-upgrade"],
  args: [1, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const m = await client().getMachine({ params: { machine: args[0]! } });
    let s = await client().createSnapshot({ params: { machine: m.id }, body: args[1] === undefined ? {} : { name: args[1] } });
    while (s.state === "creating") {
      await Bun.sleep(50);
      s = (await client().listSnapshots({ params: { machine: m.id } })).items.find((x) => x.id === s.id) ?? s;
    }
    if (s.state === "failed") throw new HyperlaneError("FAILED", `The snapshot failed: ${s.reason}`);
    out.done(`Snapshot ${s.name} of ${m.name} (${Math.round(s.bytes / 2 ** 20)} MiB)`);
    out.line(`→ Back to it: vps snapshot restore ${m.name} ${s.name}`);
    out.data(s);
  },
};

export const snapshotList: Command = {
  name: "snapshot list",
  usage: "vps snapshot list NAME",
  summary: "List a machine's snapshots",
  examples: ["vps snapshot list api-prod"],
  args: [1, 1],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const { items } = await client().listSnapshots({ params: { machine: args[0]! } });
    out.data(items);
    if (!items.length) return out.line(`No snapshots. Take one: vps snapshot ${args[0]}`);
    out.table(
      ["NAME", "STATE", "SIZE", "AGE"],
      items.map((s) => [s.name, s.state, `${Math.round(s.bytes / 2 ** 20)}M`, age(s.createdAt)]),
    );
  },
};

export const snapshotRestore: Command = {
  name: "snapshot restore",
  usage: "vps snapshot restore NAME SNAPSHOT",
  summary: "Put a machine's disk back; it restarts",
  examples: ["vps snapshot restore api-prod before-upgrade"],
  args: [2, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const asked = await client().restoreSnapshot({ params: { machine: args[0]!, snapshot: args[1]! } });
    const m = await waitFor(
      client(),
      asked.id,
      out,
      (x) => x.observed?.restoredEpoch === x.restore?.epoch && x.observed?.epoch === x.epoch && x.state === x.power,
    );
    out.done(`${m.name} is back at ${args[1]}`);
    out.data(m);
  },
};

export const snapshotRm: Command = {
  name: "snapshot rm",
  usage: "vps snapshot rm NAME SNAPSHOT",
  summary: "Remove a snapshot",
  examples: ["vps snapshot rm api-prod before-upgrade"],
  args: [2, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const s = await client().removeSnapshot({ params: { machine: args[0]!, snapshot: args[1]! } });
    out.done(`Snapshot ${s.name} is removed`);
    out.data(s);
  },
};
