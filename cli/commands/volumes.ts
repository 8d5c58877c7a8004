import { createReadStream, existsSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib, parseMib } from "#contract/size.ts";
import type { Machine } from "#contract/resources/machine.ts";
import type { Volume } from "#contract/resources/volume.ts";
import { decodeU32, F } from "#contract/wire/messages.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import type { Output } from "#cli/render/output.ts";
import { inspecting, pruning, removing } from "#cli/resource.ts";
import { formatBytes } from "#cli/transfer.ts";
import { hasHeard, waitFor } from "#cli/wait.ts";
import { createWindow } from "#sdk/window.ts";
import type { Client, Stream } from "#sdk/client.ts";
import { age } from "./machines.ts";

const LIMIT_MS = 300_000;

export const volumeCreate: Command = {
  name: "volume create",
  usage: "vps volume create NAME",
  summary: "Make a volume: a disk that outlives the machines it is mounted in",
  examples: ["vps volume create data", "vps volume create data --size 50G", "vps volume create site --from backup.tar.gz"],
  args: [1, 1],
  flags: {
    size: { type: "string", short: "s", value: "SIZE", help: "How much it holds, like 512M or 50G (10G)" },
    from: { type: "string", value: "FILE", help: "A tar archive with what is to be in it; - reads stdin" },
    label: { type: "string", multiple: true, short: "l", value: "K=V", help: "A label; may be given again" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const name = args[0]!;
    const from = flags.from as string | undefined;
    if (from !== undefined && from !== "-") demandFile(from);
    const labels = Object.fromEntries(
      ((flags.label as string[] | undefined) ?? []).map((l) => [l.split("=")[0]!, l.split(/=(.*)/s)[1] ?? ""]),
    );
    const sizeMib = flags.size === undefined ? undefined : size(flags.size as string);
    let volume = await client().createVolume({ body: { name, labels, ...(sizeMib !== undefined && { sizeMib }) } });
    if (from !== undefined)
      await send(client(), out, name, from).catch(async (thrown) => {
        await client().removeVolume({ params: { volume: name } });
        throw thrown;
      });
    volume = await client().getVolume({ params: { volume: name } });
    out.done(`Volume ${name} (${formatMib(volume.sizeMib)})`);
    out.line(`→ Use it: vps run -v ${name}:/data IMAGE   or: vps volume attach ${name} MACHINE:/data`);
    out.data(volume);
  },
};

export const volumeList: Command = {
  name: "volume list",
  usage: "vps volume list",
  summary: "List volumes",
  examples: ["vps volume list"],
  args: [0, 0],
  flags: { quiet: { type: "boolean", short: "q", help: "Only names" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    const { items } = await client().listVolumes();
    out.data(items);
    if (flags.quiet) return items.forEach((v) => out.line(v.name));
    if (!items.length) return out.line("No volumes. Make one: vps volume create data");
    out.table(
      ["NAME", "STATE", "SIZE", "TAKES", "USED BY", "AGE"],
      items.map((v) => [
        v.name,
        v.state === "failed" ? `failed: ${v.reason}` : v.state,
        formatMib(v.sizeMib),
        v.observed ? formatBytes(v.observed.bytes) : "-",
        v.usedBy.map((u) => `${u.machine}:${u.path}${u.readonly ? ":ro" : ""}`).join(" ") || "-",
        age(v.createdAt),
      ]),
    );
  },
};

export const volumeInspect = inspecting("volume", "data", (client, volume) => client.getVolume({ params: { volume } }));

export const volumeRm = removing(
  "volume",
  "data",
  "volumes that no machine uses, with what they hold and their snapshots",
  async (client, name) => {
    const volume = await client.removeVolume({ params: { volume: name } });
    await untilVolume(client, volume.id, (v) => v === undefined);
    return volume;
  },
  (gone) => gone.name,
);

export const volumePrune = pruning(
  "volume",
  "volume that no machine uses, with what it holds",
  (client) => client.pruneVolumes({ body: {} }),
  (done) => `${formatBytes(done.freedBytes)} freed`,
);

export const volumeResize: Command = {
  name: "volume resize",
  usage: "vps volume resize NAME SIZE",
  summary: "Make a volume larger, also while machines use it",
  examples: ["vps volume resize data 50G"],
  args: [2, 2],
  complete: "volume",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const sizeMib = size(args[1]!);
    const asked = await client().updateVolume({ params: { volume: args[0]! }, body: { sizeMib } });
    const volume = (await untilVolume(
      client(),
      asked.name,
      (v) => v!.node === null || v!.observed?.sizeMib === sizeMib || v!.state === "failed",
    ))!;
    if (volume.state === "failed") throw new HyperlaneError("FAILED", `The volume "${volume.name}" failed: ${volume.reason}`);
    out.done(`Volume ${volume.name} has ${formatMib(volume.sizeMib)}`);
    out.data(volume);
  },
};

export const volumeImport: Command = {
  name: "volume import",
  usage: "vps volume import NAME FILE",
  summary: "Replace what a volume holds by a tar archive; - reads stdin",
  examples: ["vps volume import data backup.tar.gz", "tar c . | vps volume import data -"],
  args: [2, 2],
  complete: "volume",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const [name, from] = args as [string, string];
    if (from !== "-") demandFile(from);
    await send(client(), out, name, from);
    out.done(`Volume ${name} holds what was in ${from === "-" ? "the archive" : from}`);
    out.data(await client().getVolume({ params: { volume: name } }));
  },
};

export const volumeAttach: Command = {
  name: "volume attach",
  usage: "vps volume attach VOLUME MACHINE:/PATH[:ro]",
  summary: "Mount a volume in a machine, at once where that can be",
  examples: ["vps volume attach data web:/srv/data", "vps volume attach data reader:/data:ro"],
  args: [2, 2],
  complete: "volume",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const [volume, target] = args as [string, string];
    const match = /^([^:]+):(\/[^:]*)(?::(ro|rw))?$/.exec(target);
    if (!match) throw new HyperlaneError("INVALID", `"${target}" must be like web:/srv/data or web:/srv/data:ro.`, { field: "path" });
    const [, machine = "", path = "", how] = match;
    const { id } = await client().getVolume({ params: { volume } });
    const asked = await client().mountVolume({ params: { machine }, body: { volume, path, readonly: how === "ro" } });
    const m = await waitFor(
      client(),
      asked.id,
      out,
      (x) => settledFor(x, asked) || seen(x, asked, id)?.attached === true || !!seen(x, asked, id)?.reason,
    );
    const { reason = null } = seen(m, asked, id) ?? {};
    if (reason !== null) out.note(reason);
    else out.done(m.state === "running" ? `${volume} is at ${path} in ${m.name}` : `${volume} will be at ${path} when ${m.name} starts`);
    out.data(m);
  },
};

export const volumeDetach: Command = {
  name: "volume detach",
  usage: "vps volume detach VOLUME MACHINE",
  summary: "Take a volume away from a machine",
  examples: ["vps volume detach data web"],
  args: [2, 2],
  complete: "volume",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const [volume, machine] = args as [string, string];
    const { id } = await client().getVolume({ params: { volume } });
    const asked = await client().unmountVolume({ params: { machine, volume } });
    const m = await waitFor(
      client(),
      asked.id,
      out,
      (x) => settledFor(x, asked) || (hasHeard(x, asked) && (!x.observed!.volumes[id] || !!seen(x, asked, id)?.reason)),
    );
    const reason = seen(m, asked, id)?.reason ?? null;
    if (reason !== null && m.state === "running")
      throw new HyperlaneError("STATE", `${volume} is still in ${m.name}: ${reason}`, {
        hint: "It goes once that is done; this is tried again until then.",
      });
    out.done(`${volume} is no longer in ${m.name}`);
    out.data(m);
  },
};

/** One that does not run changes nothing until it starts. */
function settledFor(m: Machine, asked: Machine): boolean {
  return m.state === "stopped" || m.state === "failed" || m.state === "requested" || (m.state === "paused" && hasHeard(m, asked));
}

function seen(m: Machine, asked: Machine, volume: string) {
  return hasHeard(m, asked) ? m.observed?.volumes[volume] : undefined;
}

async function untilVolume(client: Client, name: string, done: (v: Volume | undefined) => boolean): Promise<Volume | undefined> {
  for (const deadline = Date.now() + LIMIT_MS; ; await Bun.sleep(50)) {
    const volume = (await client.listVolumes()).items.find((v) => v.name === name || v.id === name);
    if (done(volume)) return volume;
    if (Date.now() > deadline) throw new HyperlaneError("TIMEOUT", `The volume "${name}" is still ${volume?.state}.`);
  }
}

function size(text: string): number {
  const mib = parseMib(text);
  if (mib === undefined) throw new HyperlaneError("INVALID", `The size must be like 512M or 50G, not "${text}".`, { field: "size" });
  return mib;
}

function demandFile(path: string): void {
  if (!existsSync(path)) throw new HyperlaneError("NOT_FOUND", `There is no file "${path}".`, { hint: "Check the path." });
}

const FIRST_LOOK_BYTES = 1024 * 1024;

/** An archive into a volume. Whoever leaves in the middle leaves the volume as it was. */
async function send(client: Client, out: Context["out"] & Output, volume: string, from: string): Promise<void> {
  const done = Promise.withResolvers<void>();
  const window = createWindow();
  const stream: Stream = await client.stream(
    "importVolume",
    { params: { volume } },
    {
      message(type, payload) {
        if (type === F.CREDIT_BACK) window.credit(decodeU32(payload));
        if (type === F.EXIT) done.resolve();
      },
      close: (error) => done.reject(error ?? new HyperlaneError("UNAVAILABLE", "The connection to the control plane was lost.")),
    },
  );
  done.promise.catch(() => {});
  const feed = async (): Promise<void> => {
    let sent = 0;
    const source = from === "-" ? process.stdin : createReadStream(from);
    for await (const bytes of source as AsyncIterable<Buffer>) {
      await window.send(stream, bytes);
      sent += bytes.length;
      if (sent > FIRST_LOOK_BYTES) out.progress(`${volume}: ${formatBytes(sent)} sent`);
    }
    stream.send(F.EOF, Buffer.alloc(0));
  };
  try {
    await Promise.race([feed(), done.promise]);
    await done.promise;
  } finally {
    out.progress(null);
    stream.close();
  }
}
