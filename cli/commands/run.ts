/** `vps run`: Docker's words for a machine whose workload is an image's. */
import { existsSync, readFileSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { parseMib } from "#contract/size.ts";
import type { Exposure, Machine } from "#contract/resources/machine.ts";
import { imageName } from "#contract/resources/image.ts";
import type { Command, Context } from "#cli/command.ts";
import { JSON_FLAG } from "#cli/command.ts";
import { parseDuration } from "#cli/duration.ts";
import { ensureVolumes, MOUNT_FLAGS, placing } from "#cli/mounts.ts";
import { follow } from "#cli/session.ts";
import { transferImage } from "#cli/transfer.ts";
import { waitFor } from "#cli/wait.ts";
import { idleSeconds } from "./standby.ts";
import type { Client } from "#sdk/client.ts";

export const run: Command = {
  name: "run",
  usage: "vps run IMAGE [COMMAND...]",
  summary: "Run an image in a machine of its own; its output, signals and exit code are passed on",
  examples: [
    "vps run --rm busybox echo hello",
    "vps run -d --name web -p 8080:80 nginx",
    "vps run -it --rm python:3 python",
    "vps run -d --restart always -e POSTGRES_PASSWORD=x -m 1G -v data:/var/lib/postgresql/data postgres:16",
    "vps run -d --network back --network-alias cache redis",
  ],
  args: [1, 1],
  trailing: true,
  complete: "image",
  flags: {
    detach: { type: "boolean", short: "d", help: "Return once it runs, and print its name" },
    rm: { type: "boolean", help: "Destroy it once it has ended" },
    interactive: { type: "boolean", short: "i", help: "Keep its stdin open, and pass ours on" },
    tty: { type: "boolean", short: "t", help: "Give it a terminal" },
    name: { type: "string", value: "NAME", help: "Its name (made from the image's)" },
    publish: {
      type: "string",
      multiple: true,
      short: "p",
      value: "[IP:]HOST:PORT[/udp]",
      help: "Make a port reachable; may be given again",
    },
    env: { type: "string", multiple: true, short: "e", value: "K=V", help: "An environment variable; K alone takes ours" },
    "env-file": { type: "string", multiple: true, value: "FILE", help: "Environment variables, one K=V a line" },
    label: { type: "string", multiple: true, short: "l", value: "K=V", help: "A label; may be given again" },
    workdir: { type: "string", short: "w", value: "DIR", help: "Run in this directory" },
    user: { type: "string", short: "u", value: "USER[:GROUP]", help: "Run as this user, by name or number" },
    entrypoint: { type: "string", value: "COMMAND", help: "In place of the image's entrypoint" },
    hostname: { type: "string", value: "NAME", help: "Its host name (its name)" },
    restart: { type: "string", value: "POLICY", help: "no (the default), on-failure[:N], always, unless-stopped" },
    "stop-signal": { type: "string", value: "SIGNAL", help: "Asks it to end (the image's, or TERM)" },
    "stop-timeout": { type: "string", value: "SECONDS", help: "Then it is killed (10)" },
    "health-cmd": { type: "string", value: "COMMAND", help: "Says whether it is well, by its exit code (the image's)" },
    "health-interval": { type: "string", value: "TIME", help: "How often that runs (30s)" },
    "health-timeout": { type: "string", value: "TIME", help: "How long it may take (30s)" },
    "health-start-period": { type: "string", value: "TIME", help: "Failures do not count so long after its start (0s)" },
    "health-retries": { type: "string", value: "N", help: "Failures in a row that make it unhealthy (3)" },
    "no-healthcheck": { type: "boolean", help: "No check, whatever the image says" },
    cpus: { type: "string", value: "N", help: "Virtual CPUs (1)" },
    memory: { type: "string", short: "m", value: "SIZE", help: "Memory, like 512M or 8G (512M)" },
    "read-only": { type: "boolean", help: "Nothing of the image can be written to, only volumes" },
    disk: { type: "string", value: "SIZE", help: "Size of its writable disk (10G)" },
    idle: { type: "string", value: "TIME", help: "To standby after so long with nothing to do, like 10m; or never (the default)" },
    ...MOUNT_FLAGS,
    pull: { type: "string", value: "WHEN", help: "missing (the default), always, never" },
    platform: { type: "string", value: "OS/ARCH", help: "Of the image (linux/amd64)" },
    insecure: { type: "boolean", help: "Allow a registry without TLS" },
    json: JSON_FLAG,
  },
  async run(ctx) {
    const { flags, out, rest } = ctx;
    const client = ctx.client();
    const [image] = ctx.args as [string];
    const interactive = flags.interactive === true;
    const tty = flags.tty === true;
    if (tty && !flags.detach && interactive && !process.stdin.isTTY)
      throw new HyperlaneError("USAGE", "-t needs a terminal, and stdin is none.", { hint: "Leave -t out." });
    const name = (flags.name as string) ?? inventName(image);
    const entrypoint = flags.entrypoint === undefined ? undefined : flags.entrypoint === "" ? [] : [flags.entrypoint as string];
    const spec = {
      image,
      env: environment(flags),
      restart: (flags.restart as string) ?? "no",
      autoRemove: flags.rm === true,
      readOnly: flags["read-only"] === true,
      tty,
      stdin: interactive,
      ...numbers(flags),
      ...placing(flags),
      healthcheck: healthcheck(flags),
      ...(flags.idle !== undefined && { idleS: idleSeconds(flags.idle as string) }),
      ...(entrypoint && { entrypoint }),
      ...(rest.length && { cmd: rest }),
      ...(flags.workdir !== undefined && { workdir: flags.workdir as string }),
      ...(flags.user !== undefined && { user: flags.user as string }),
      ...(flags.hostname !== undefined && { hostname: flags.hostname as string }),
      ...(flags["stop-signal"] !== undefined && { stopSignal: flags["stop-signal"] as string }),
    };
    if (flags.rm && spec.restart !== "no")
      throw new HyperlaneError("USAGE", "--rm and --restart exclude each other.", { hint: "Leave one of them out." });
    const exposures = list(flags.publish).map(parsePublish);
    await ensureImage(ctx, client, image);
    await ensureVolumes(client, out, spec.mounts || []);
    const made = await client.createMachine({ body: { name, labels: labels(flags), spec, exposures } });
    const started = await waitFor(client, made.id, out, hasStarted).catch((thrown) => giveUp(client, made, thrown));
    if (flags.detach) {
      out.data(started);
      return out.line(started.name);
    }
    const code = await follow(client, started, out, { stdin: interactive, tty, soon: flags.rm === true });
    // Its removal is on its way in any case; asked for now, it does not wait for those who come late.
    if (flags.rm) await client.destroyMachine({ params: { machine: made.id } }).catch(() => {});
    return code;
  },
};

/** Its workload runs, or has already ended. */
export function hasStarted(m: Machine): boolean {
  return m.observed?.epoch === m.epoch && (m.state === "running" || m.state === "stopped");
}

/** What could not be started is not left lying about, if it was to go anyway. */
async function giveUp(client: Client, made: Machine, thrown: unknown): Promise<never> {
  if (made.spec.autoRemove) await client.destroyMachine({ params: { machine: made.id } }).catch(() => {});
  throw thrown;
}

async function ensureImage({ flags, out }: Context, client: Client, image: string): Promise<void> {
  const when = (flags.pull as string) ?? "missing";
  if (!["missing", "always", "never"].includes(when))
    throw new HyperlaneError("INVALID", `--pull must be missing, always or never, not "${when}".`, { field: "pull" });
  const name = imageName(image);
  if (name === undefined)
    throw new HyperlaneError("INVALID", `"${image}" is no image name.`, { hint: 'Like "nginx", "debian:12" or "ghcr.io/owner/app:v1".' });
  const there = when !== "always" && (await client.listImages()).items.some((i) => i.name === name);
  if (there || when === "never") return;
  if (when === "missing") out.note(`The image ${name} is not here yet: pulling it.`);
  await transferImage(client, out, "pullImage", {
    image: name,
    platform: flags.platform as string | undefined,
    insecure: flags.insecure === true,
  });
}

/** After the image, with a few letters so that the next one has another. */
function inventName(image: string): string {
  const base = image
    .replace(/[@:][^/]*$/, "")
    .replace(/^.*\//, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "")
    .slice(0, 40);
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  const tail = [...crypto.getRandomValues(new Uint8Array(5))].map((b) => letters[b % letters.length]).join("");
  return `${base || "machine"}-${tail}`;
}

function list(value: Context["flags"][string]): string[] {
  return Array.isArray(value) ? value : [];
}

function numbers(flags: Context["flags"]) {
  const size = (flag: string): number | undefined => {
    const text = flags[flag] as string | undefined;
    // Docker's plain number is bytes; with a unit both mean the same.
    const mib = text === undefined ? undefined : parseMib(/^\d+$/.test(text) ? `${Math.floor(Number(text) / 1024)}k` : text);
    if (text !== undefined && mib === undefined)
      throw new HyperlaneError("INVALID", `--${flag} must be a size like 512M or 8G, not "${text}".`, { field: flag });
    return mib;
  };
  const whole = (flag: string): number | undefined => {
    const text = flags[flag] as string | undefined;
    if (text !== undefined && !/^\d+(\.\d+)?$/.test(text))
      throw new HyperlaneError("INVALID", `--${flag} must be a number, not "${text}".`, { field: flag });
    return text === undefined ? undefined : Math.ceil(Number(text));
  };
  const [cpu, memoryMib, diskMib, stopTimeoutS] = [whole("cpus"), size("memory"), size("disk"), whole("stop-timeout")];
  return {
    ...(cpu !== undefined && { cpu }),
    ...(memoryMib !== undefined && { memoryMib }),
    ...(diskMib !== undefined && { diskMib }),
    ...(stopTimeoutS !== undefined && { stopTimeoutS }),
  };
}

/** Docker's durations: "30s", "1m30s", "500ms". */
function milliseconds(flags: Context["flags"], flag: string): number | undefined {
  const text = flags[flag] as string | undefined;
  if (text === undefined) return undefined;
  const ms = parseDuration(text, { ms: 1, s: 1000, m: 60_000, h: 3_600_000 });
  if (ms === undefined) throw new HyperlaneError("INVALID", `--${flag} must be a time like 30s or 1m30s, not "${text}".`, { field: flag });
  return Math.round(ms);
}

function healthcheck(flags: Context["flags"]) {
  const retries = flags["health-retries"] as string | undefined;
  if (retries !== undefined && !/^[1-9]\d{0,2}$/.test(retries))
    throw new HyperlaneError("INVALID", `--health-retries must be a whole number, not "${retries}".`, { field: "health-retries" });
  const change = {
    ...(flags["health-cmd"] !== undefined && { command: flags["health-cmd"] as string }),
    ...(flags["no-healthcheck"] === true && { off: true }),
    ...(retries !== undefined && { retries: Number(retries) }),
  };
  const times = { intervalMs: "health-interval", timeoutMs: "health-timeout", startPeriodMs: "health-start-period" } as const;
  for (const [field, flag] of Object.entries(times)) {
    const ms = milliseconds(flags, flag);
    if (ms !== undefined) Object.assign(change, { [field]: ms });
  }
  return Object.keys(change).length ? change : null;
}

function environment(flags: Context["flags"]): Record<string, string> {
  const env: Record<string, string> = {};
  const take = (line: string, where: string): void => {
    const at = line.indexOf("=");
    if (at === 0) throw new HyperlaneError("INVALID", `"${line}" in ${where} has no name before its "=".`, { field: "env" });
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? process.env[name] : line.slice(at + 1);
    if (value !== undefined) env[name] = value;
  };
  for (const file of list(flags["env-file"])) {
    if (!existsSync(file)) throw new HyperlaneError("NOT_FOUND", `There is no file "${file}".`, { field: "env-file" });
    for (const line of readFileSync(file, "utf8").split(/\r?\n/)) if (line.trim() && !line.startsWith("#")) take(line, file);
  }
  for (const line of list(flags.env)) take(line, "--env");
  return env;
}

function labels(flags: Context["flags"]): Record<string, string> {
  return Object.fromEntries(list(flags.label).map((text) => text.split(/=(.*)/s).slice(0, 2).concat("").slice(0, 2) as [string, string]));
}

/** [IP:]HOST:PORT[/udp], the IP of version 6 in brackets. */
export function parsePublish(text: string): Exposure {
  const match = /^(?:(\[[0-9a-fA-F:]+\]|\d+\.\d+\.\d+\.\d+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  if (!match)
    throw new HyperlaneError("INVALID", `--publish must be like 8080:80, 127.0.0.1:8080:80 or 53:53/udp, not "${text}".`, {
      field: "publish",
    });
  const [, ip, hostPort, port, protocol] = match;
  return {
    hostIp: ip === undefined || ip === "0.0.0.0" ? null : ip.replace(/[[\]]/g, ""),
    hostPort: Number(hostPort),
    port: Number(port),
    protocol: (protocol ?? "tcp") as Exposure["protocol"],
  };
}
