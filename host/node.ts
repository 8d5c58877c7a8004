/** What makes a host a node, whoever's: `init` of a control plane of its own, or `join` with the word of another's. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import type { AgentConfig } from "#agent/main.ts";
import { fromSource } from "#cli/program.ts";
import { HyperlaneError } from "#contract/errors.ts";
import { parseMib } from "#contract/size.ts";
import { decodeTicket } from "#contract/wire/ticket.ts";
import { readEnvironment } from "./environment.ts";
import { GUEST_FILES, stateDir } from "./place.ts";

/** Flags of the host's commands, as they were typed. */
export type Flags = Partial<
  Record<"port" | "address" | "subnet" | "zpool" | "cpus" | "memory" | "guest" | "docker" | "firecracker" | "cloud-hypervisor", string>
> & { "allow-folder"?: string[] };
type Env = ReturnType<typeof readEnvironment>;
type Enrolled = Pick<AgentConfig, "node" | "address" | "tls">;
export type Checked = ReturnType<typeof checkNode>;

/** Before anything is made. before: what this host is already. */
export function checkNode(flags: Flags, env: Env) {
  if (process.getuid?.() !== 0)
    throw new HyperlaneError("FORBIDDEN", "This sets up networks and machines, so it must run as root.", { hint: "sudo hyperlane ..." });
  const cpus = wholeNumber("cpus", flags.cpus, 1, 4096);
  const memoryMib = flags.memory === undefined ? undefined : parseMib(flags.memory);
  if (flags.memory !== undefined && !memoryMib)
    throw new HyperlaneError("INVALID", `--memory must be a size like 64G, not "${flags.memory}".`, { field: "memory" });
  if (flags.subnet !== undefined && !/^\d{1,3}(\.\d{1,3}){3}\/(1[2-9]|2\d)$/.test(flags.subnet))
    throw new HyperlaneError("INVALID", `--subnet must be an IPv4 network like 10.99.0.0/16, not "${flags.subnet}".`, { field: "subnet" });
  if (env.uplink !== undefined && !existsSync(`/sys/class/net/${env.uplink}`))
    throw new HyperlaneError("NOT_FOUND", `UPLINK_INTERFACE names "${env.uplink}", and there is no such interface.`, {
      hint: "`ip -br link` lists them.",
    });
  const before = readJson(`${stateDir()}/agent.json`) as AgentConfig | undefined;
  for (const [flag, is, asked] of [
    ["zpool", before?.zpool, flags.zpool],
    ["subnet", before?.subnet4, flags.subnet ?? env.subnet],
    ["bridge", before?.bridge, env.bridge],
  ] as const)
    if (before && asked !== undefined && asked !== is && hasMachines())
      throw new HyperlaneError(
        "CONFLICT",
        `The ${flag} cannot change while there are machines: they have their disks and addresses (now: ${is ?? "none"}).`,
        { hint: "Destroy them first, or leave it as it is." },
      );
  return { cpus, memoryMib, before };
}

/** What its agent is to be, and what its machines boot; the folder of that. */
export async function writeAgent(flags: Flags, env: Env, enrolled: Enrolled, { before, cpus, memoryMib }: Checked): Promise<string> {
  const guestDir = await installGuest(flags.guest);
  const agent: AgentConfig = {
    ...enrolled,
    bridge: env.bridge ?? before?.bridge ?? "hyperlane0",
    subnet4: flags.subnet ?? env.subnet ?? before?.subnet4 ?? "10.77.0.0/16",
    uplink: env.uplink ?? before?.uplink ?? null,
    dnsServer: env.dnsServer ?? before?.dnsServer ?? null,
    maxBuilds: env.maxBuilds ?? before?.maxBuilds ?? 2,
    zpool: flags.zpool ?? before?.zpool ?? null,
    dockerSocket: resolve((flags.docker ?? before?.dockerSocket ?? "/var/run/docker.sock").replace(/^unix:\/\//, "")),
    ...vmmPrograms(flags, before),
    cpus: cpus ?? before?.cpus ?? null,
    memoryMib: memoryMib ?? before?.memoryMib ?? null,
    folders: flags["allow-folder"]?.map((folder) => resolve(folder)) ?? before?.folders ?? [],
    guestDir,
  };
  writeFileDurably(`${stateDir()}/agent.json`, JSON.stringify(agent));
  return guestDir;
}

/** word: what `vps node add` printed. */
export async function joinWith(word: string | undefined, flags: Flags): Promise<void> {
  if (word === undefined)
    throw new HyperlaneError("USAGE", "With what? Give the WORD.", {
      hint: "Where the control plane is, `vps node add NAME --address HOST:7421` prints it.",
    });
  const ticket = decodeTicket(word);
  if (!ticket)
    throw new HyperlaneError("INVALID", "This is nothing to join with: such a word begins with hlj_, and this one may have been cut.");
  const env = readEnvironment(process.env);
  const checked = checkNode(flags, env);
  if (hasControl() || (checked.before && checked.before.node !== ticket.node))
    throw new HyperlaneError("CONFLICT", "This host is a node already.", { hint: "`hyperlane uninstall` takes that away first." });
  await writeAgent(flags, env, ticket, checked);
}

/** One that joined has no control plane. */
export function hasControl(): boolean {
  return existsSync(`${stateDir()}/control.json`);
}

export function hasMachines(): boolean {
  return existsSync(`${stateDir()}/machines`) && readdirSync(`${stateDir()}/machines`).length > 0;
}

function vmmPrograms(flags: Flags, before: AgentConfig | undefined): Pick<AgentConfig, "firecracker" | "cloud-hypervisor"> {
  const program = (name: "firecracker" | "cloud-hypervisor"): string | null => {
    const named = flags[name];
    if (named === undefined) return before?.[name] ?? null;
    if (!existsSync(named))
      throw new HyperlaneError("NOT_FOUND", `--${name} names "${named}", and there is no such file.`, { field: name });
    return resolve(named);
  };
  return { firecracker: program("firecracker"), "cloud-hypervisor": program("cloud-hypervisor") };
}

/** What machines boot, into the state folder. */
async function installGuest(named: string | undefined): Promise<string> {
  const guestDir = `${stateDir()}/guest`;
  mkdirSync(guestDir, { recursive: true, mode: 0o755 });
  for (const file of GUEST_FILES) {
    const source = guestFile(named, file);
    const target = `${guestDir}/${file}`;
    if (!source || (existsSync(target) && isSame(source, target))) continue;
    await Bun.write(`${target}.new`, Bun.file(source));
    // A program among them is run.
    chmodSync(`${target}.new`, 0o755);
    renameSync(`${target}.new`, target);
  }
  if (!existsSync(`${guestDir}/vmlinux`))
    throw new HyperlaneError("NOT_FOUND", "The guest's kernel is neither beside this program nor in it.", {
      hint: "`./quickstart` makes it; then: hyperlane init --guest build/guest",
    });
  return guestDir;
}

/** Where a file of the guest comes from: the folder that was named, the sources, beside the program, or inside it. */
function guestFile(named: string | undefined, file: string): string | undefined {
  const folders =
    named !== undefined
      ? [named]
      : fromSource()
        ? [`${import.meta.dirname}/../build/guest`]
        : [`${dirname(process.execPath)}/guest`, "/$bunfs/root"];
  return folders.map((folder) => `${folder}/${file}`).find((path) => existsSync(path));
}

/** By content: a file inside the program has no date. */
function isSame(a: string, b: string): boolean {
  return statSync(a).size === statSync(b).size && Bun.hash(readFileSync(a)) === Bun.hash(readFileSync(b));
}

export function wholeNumber(flag: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new HyperlaneError("INVALID", `--${flag} must be a whole number from ${least} to ${most}, not "${text}".`, { field: flag });
}
