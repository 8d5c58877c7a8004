import { existsSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import { encodeU32, F } from "#contract/wire/frames.ts";
import type { Machine, Observed } from "#contract/resources/machine.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";
import type { Stream } from "#sdk/client.ts";
import { age } from "./machines.ts";

export const logs: Command = {
  name: "logs",
  usage: "vps logs NAME",
  summary: "A machine's console, or its workload's output",
  examples: ["vps logs api-prod", "vps logs -f api-prod --workload", "vps logs api-prod --tail 50"],
  args: [1, 1],
  complete: "machine",
  flags: {
    follow: { type: "boolean", short: "f", help: "Go on as more comes" },
    workload: { type: "boolean", help: "The workload (its journal) instead of the console" },
    tail: { type: "string", value: "N", help: "Only the last N lines (1000)" },
  },
  async run({ client, args, flags, out }) {
    const done = Promise.withResolvers<number>();
    const stream: Stream = await client().stream(
      "machineLogs",
      {
        params: { machine: args[0]! },
        query: { follow: flags.follow === true, source: flags.workload ? "workload" : "console", tail: (flags.tail as string) ?? "1000" },
      },
      {
        message(type, payload) {
          if (type === F.STDOUT) {
            out.raw(payload);
            stream?.send(F.CREDIT, encodeU32(payload.length));
          } else if (type === F.EXIT) done.resolve(0);
        },
        close: (error) => (error ? done.reject(error) : done.resolve(0)),
      },
    );
    return await done.promise.finally(() => stream.close());
  },
};

export const events: Command = {
  name: "events",
  usage: "vps events",
  summary: "What happened, oldest first",
  examples: ["vps events", "vps events -f --json | jq .type", "vps events --machine api-prod"],
  args: [0, 0],
  flags: {
    follow: { type: "boolean", short: "f", help: "Go on as more comes" },
    machine: { type: "string", value: "NAME", help: "Only of this machine" },
    json: { type: "boolean", help: "One JSON object a line" },
  },
  async run({ client, flags, out }) {
    type E = { seq: number; at: number; type: string; subject: string; actor: string; data: unknown };
    const names = new Map<string, string>();
    const print = (e: E): void => {
      if (flags.json) return out.ndjson(e);
      const { name } = e.data as { name?: unknown };
      if (typeof name === "string") names.set(e.subject, name);
      out.line(
        `${new Date(e.at).toISOString()}  ${String(e.seq).padStart(6)}  ${(names.get(e.subject) ?? e.subject).padEnd(16)}  ${e.type.replace(/^v\d+\./, "").padEnd(22)}  ${describe(e.data)}`.trimEnd(),
      );
    };
    let after = "0";
    for (;;) {
      const page = await client().listEvents({ query: { after, limit: 1000, subject: flags.machine as string | undefined } });
      (page.items as E[]).forEach(print);
      if (page.items.length) after = String(page.items.at(-1)!.seq);
      if (page.next === null) break;
    }
    if (after === "0" && flags.machine !== undefined)
      out.note(`No events of "${flags.machine as string}": a machine that is gone is known by its id only.`);
    if (!flags.follow) return;
    const only = flags.machine === undefined ? undefined : (await client().getMachine({ params: { machine: flags.machine as string } })).id;
    const done = Promise.withResolvers<void>();
    await client().stream(
      "watchEvents",
      { query: { after } },
      {
        message: () => {},
        text(text) {
          const e = JSON.parse(text) as E;
          if (only === undefined || e.subject === only) print(e);
        },
        close: (error) =>
          error ? done.reject(error) : done.reject(new HyperlaneError("UNAVAILABLE", "The control plane ended the stream.")),
      },
    );
    await done.promise;
  },
};

/** An event's data in a line: of an observation what a person asks for, of the rest all that is short. */
function describe(data: unknown): string {
  const { observed, spec } = data as { observed?: Observed; spec?: Machine["spec"] };
  if (observed) return [observed.phase, observed.exit, observed.reason].filter(Boolean).join(", ");
  if (spec) return `${spec.image}, ${spec.cpu} CPU, ${formatMib(spec.memoryMib)} RAM`;
  return Object.entries(data as object)
    .filter(([key, v]) => key !== "name" && key !== "hash" && (typeof v !== "object" || v === null))
    .map(([key, v]) => `${key} ${v}`)
    .join(", ");
}

export const nodeList: Command = {
  name: "node list",
  usage: "vps node list",
  summary: "List nodes and what they offer",
  examples: ["vps node list", "vps node list --json"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listNodes();
    out.data(items);
    out.table(
      ["NAME", "STATUS", "CPU", "RAM", "DISK FREE", "RUNS ON", "STORAGE", "SINCE"],
      items.map((n) => [
        n.name,
        n.connected ? out.color("green", "connected") : out.color("red", "not connected"),
        String(n.status?.cpu ?? "-"),
        n.status ? formatMib(n.status.memoryMib) : "-",
        n.status ? formatMib(n.status.diskFreeMib) : "-",
        n.status?.accelerator ?? "-",
        n.status?.storage ?? "-",
        age(n.since),
      ]),
    );
  },
};

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

export const imageList: Command = {
  name: "image list",
  usage: "vps image list",
  summary: "List images",
  examples: ["vps image list"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listImages();
    out.data(items);
    if (!items.length) return out.line("No images yet: the node has not reported any. `vps node list` shows whether it is connected.");
    out.table(
      ["NAME", "STATE", "SIZE", "DIGEST", "AGE"],
      items.map((i) => [
        i.name,
        i.state === "failed" ? `failed: ${i.reason}` : i.state,
        `${Math.round(i.bytes / 2 ** 20)}M`,
        i.digest?.slice(0, 12) ?? "-",
        age(i.createdAt),
      ]),
    );
  },
};

export const imageCreate: Command = {
  name: "image create",
  usage: "vps image create NAME --from MACHINE",
  summary: "Make an image from a machine",
  examples: ["vps image create my-api:v3 --from api-prod"],
  args: [1, 1],
  flags: { from: { type: "string", value: "MACHINE", help: "The machine to make it from" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    if (flags.from === undefined) throw new HyperlaneError("USAGE", "From which machine? Give --from MACHINE.");
    let image = await client().createImage({ body: { name: args[0]!, from: flags.from as string } });
    while (image.state === "creating") {
      await Bun.sleep(200);
      image = (await client().listImages()).items.find((i) => i.id === image.id) ?? image;
    }
    if (image.state === "failed") throw new HyperlaneError("FAILED", `The image could not be made: ${image.reason}`);
    out.done(`Image ${image.name} (${Math.round(image.bytes / 2 ** 20)} MiB)`);
    out.line(`→ Use it: vps up NAME --image ${image.name}`);
    out.data(image);
  },
};

export const imageRm: Command = {
  name: "image rm",
  usage: "vps image rm NAME",
  summary: "Remove an image that no machine uses",
  examples: ["vps image rm my-api:v3"],
  args: [1, 1],
  complete: "image",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const image = await client().removeImage({ params: { image: args[0]! } });
    out.done(`Image ${image.name} is removed`);
    out.data(image);
  },
};

export const expose: Command = {
  name: "expose",
  usage: "vps expose NAME --port PORT [--as HOSTPORT]",
  summary: "Make a machine's port reachable from outside",
  examples: ["vps expose api-prod --port 443", "vps expose api-prod --port 80 --as 8080", "vps expose api-prod --port 80 --off"],
  args: [1, 1],
  complete: "machine",
  flags: {
    port: { type: "string", value: "PORT", help: "The machine's port" },
    as: { type: "string", value: "PORT", help: "The node's port (the same)" },
    udp: { type: "boolean", help: "UDP instead of TCP" },
    off: { type: "boolean", help: "Close it again" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const port = (name: string): number | undefined => {
      if (flags[name] === undefined) return undefined;
      if (!/^\d{1,5}$/.test(flags[name] as string))
        throw new HyperlaneError("INVALID", `--${name} must be a port number, not "${String(flags[name])}".`, { field: name });
      return Number(flags[name]);
    };
    const inner = port("port");
    if (inner === undefined) throw new HyperlaneError("USAGE", "Which port? Give --port.");
    const machine = args[0]!;
    const m = flags.off
      ? await client().unexposeMachine({ params: { machine, port: String(inner) } })
      : await client().exposeMachine({
          params: { machine },
          body: { port: inner, hostPort: port("as") ?? inner, protocol: flags.udp ? "udp" : "tcp" },
        });
    if (m.node !== null) await waitFor(client(), m.id, out, (x) => (x.observed?.revision ?? 0) >= m.revision);
    out.done(
      flags.off ? `${m.name}: port ${inner} is closed` : `${m.name}: port ${inner} is reachable on port ${port("as") ?? inner} of the node`,
    );
    out.data(m);
  },
};

export const init: Command = {
  name: "init",
  usage: "vps init [NAME]",
  summary: "Write a hyperlane.yaml for this project and check the connection",
  examples: ["vps init", "vps init api-prod"],
  args: [0, 1],
  async run({ client, args, out }) {
    const who = await client().whoami();
    const name =
      args[0] ??
      basename(process.cwd())
        .toLowerCase()
        .replace(/[^a-z0-9-]+/g, "-")
        .replace(/^[^a-z]+|-+$/g, "");
    if (existsSync("hyperlane.yaml")) out.line("hyperlane.yaml is there already.");
    else {
      writeFileSync("hyperlane.yaml", `vm:\n  name: ${name || "my-server"}\n  cpu: 1\n  ram: 512M\n  image: debian:12\n`, { flag: "wx" });
      out.done("Wrote hyperlane.yaml");
    }
    out.done(`Connected as ${who.name} (${who.role})`);
    out.line("→ Next: vps up");
  },
};
