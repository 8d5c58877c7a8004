/** `hyperlane`: what is done on a host. init, start, stop, status; and the two processes themselves in the foreground. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import type { AgentConfig } from "#agent/main.ts";
import { readContext, writeContext } from "#cli/config.ts";
import { createOutput, type Output } from "#cli/render/output.ts";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { VERSION } from "#contract/version.ts";
import { fromSource, self } from "#cli/program.ts";
import { Role as TokenRole } from "#contract/resources/other.ts";
import { parseMib } from "#contract/size.ts";
import { readEnvironment } from "./environment.ts";
import { GUEST_FILES, logDir, ROLES, stateDir, TITLES, webDir, type Role } from "./place.ts";
import { supervise, supervisor } from "./supervisor.ts";
import { uninstall } from "./uninstall.ts";

const HELP = `hyperlane: the control plane and the agent of this host

  hyperlane init       Make CAs, database and admin token, enrol this host as a node, start both
                       --port N (7420)  --subnet CIDR (10.77.0.0/16)  --zpool POOL  --guest DIR
                       --cpus N  --memory SIZE (offered to machines; the host's. More RAM than it has is a promise
                       that holds as long as machines do not all use theirs)
                       --firecracker PROGRAM  --cloud-hypervisor PROGRAM (other VMMs to offer; those in PATH, where guests run in them)
                       --docker SOCKET (of the Docker engine for machines that are containers; /var/run/docker.sock)
                       --allow-folder DIR (of this host, for machines to mount what is below it; may be given again)
                       Also from the environment: PORT, DATA_DIR, BRIDGE_NAME, SUBNET_CIDR, UPLINK_INTERFACE,
                       JWT_SECRET, DNS_SERVER, MAX_CONCURRENT_BUILDS, MAX_OVERLAY_SIZE, DISABLE_AUTH (true:
                       Hyperfleet's API asks for no token)
  hyperlane start      Start control plane and agent; each is started again when it ends
  hyperlane stop       Stop both. Machines keep running
  hyperlane status     Whether they run
  hyperlane serve      The control plane, in the foreground
  hyperlane agent      The agent, in the foreground
  hyperlane jwt NAME   A JSON Web Token for the API, signed with JWT_SECRET: --role admin|viewer  --hours N (24)
  hyperlane recover    After a damaged database: go back to the last good event
  hyperlane uninstall  Destroy every machine and remove all of it from this host; asks, or --yes
  hyperlane version

State is in /var/lib/hyperlane (HYPERLANE_DIR or DATA_DIR), logs in /var/log/hyperlane.`;

export async function runHyperlane(argv: string[]): Promise<number> {
  const out = createOutput(argv.includes("--json"));
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        port: { type: "string" },
        subnet: { type: "string" },
        zpool: { type: "string" },
        cpus: { type: "string" },
        memory: { type: "string" },
        guest: { type: "string" },
        docker: { type: "string" },
        firecracker: { type: "string" },
        "cloud-hypervisor": { type: "string" },
        json: { type: "boolean" },
        yes: { type: "boolean", short: "y" },
        help: { type: "boolean", short: "h" },
        role: { type: "string" },
        hours: { type: "string" },
        "allow-folder": { type: "string", multiple: true },
      },
    });
    if (values.help || !positionals.length || positionals[0] === "help") return (out.line(HELP), 0);
    switch (positionals[0]) {
      case "init":
        return await init(values, out);
      case "start":
        return (await start(out), 0);
      case "stop":
        return (await stop(out), 0);
      case "status":
        return await status(out);
      case "serve":
        return await foreground("serve");
      case "agent":
        return await foreground("agent");
      case "supervise":
        return await supervise(positionals[1] as Role);
      case "convert":
        return await (await import("#agent/images/convert.ts")).runConverter();
      case "jwt":
        return await jwt(positionals[1], values, out);
      case "recover":
        return await recover(out);
      case "uninstall":
        return await uninstall(out, values.yes === true);
      case "version":
        return (out.line(`hyperlane ${VERSION}`), 0);
      default:
        throw new HyperlaneError("USAGE", `There is no command "${positionals[0]}".`, {
          hint: "`hyperlane --help` shows all. Machines are the business of `vps`.",
        });
    }
  } catch (thrown) {
    if ((thrown as { code?: string }).code?.startsWith("ERR_PARSE_ARGS"))
      return out.error(new HyperlaneError("USAGE", (thrown as Error).message));
    return out.error(toHyperlaneError(thrown));
  }
}

type Flags = Partial<
  Record<"port" | "subnet" | "zpool" | "cpus" | "memory" | "guest" | "docker" | "firecracker" | "cloud-hypervisor", string>
> & { "allow-folder"?: string[] };

async function init(flags: Flags, out: Output): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new HyperlaneError("FORBIDDEN", "init sets up networks and machines, so it must run as root.", { hint: "sudo hyperlane init" });
  const env = readEnvironment(process.env);
  const [port, cpus] = [wholeNumber("port", flags.port, 1, 65534) ?? env.port, wholeNumber("cpus", flags.cpus, 1, 4096)];
  const memoryMib = flags.memory === undefined ? undefined : parseMib(flags.memory);
  if (flags.memory !== undefined && !memoryMib)
    throw new HyperlaneError("INVALID", `--memory must be a size like 64G, not "${flags.memory}".`, { field: "memory" });
  if (flags.subnet !== undefined && !/^\d{1,3}(\.\d{1,3}){3}\/(1[2-9]|2\d)$/.test(flags.subnet))
    throw new HyperlaneError("INVALID", `--subnet must be an IPv4 network like 10.99.0.0/16, not "${flags.subnet}".`, { field: "subnet" });
  if (env.uplink !== undefined && !existsSync(`/sys/class/net/${env.uplink}`))
    throw new HyperlaneError("NOT_FOUND", `UPLINK_INTERFACE names "${env.uplink}", and there is no such interface.`, {
      hint: "`ip -br link` lists them.",
    });
  const subnet = flags.subnet ?? env.subnet;
  const before = readJson(`${stateDir()}/agent.json`) as AgentConfig | undefined;
  for (const [flag, is, asked] of [
    ["zpool", before?.zpool, flags.zpool],
    ["subnet", before?.subnet4, subnet],
    ["bridge", before?.bridge, env.bridge],
  ] as const)
    if (before && asked !== undefined && asked !== is && hasMachines())
      throw new HyperlaneError(
        "CONFLICT",
        `The ${flag} cannot change while there are machines: they have their disks and addresses (now: ${is ?? "none"}).`,
        {
          hint: "Destroy them first, or leave it as it is.",
        },
      );
  const { initControl } = await import("#control/init.ts");
  await stop(null);
  const made = await initControl({
    dir: stateDir(),
    port,
    nodeName: hostname().split(".")[0] || "node",
    secret: knownSecret(),
    jwtSecret: env.jwtSecret,
    disableAuth: env.disableAuth,
    maxDiskMib: env.maxDiskMib,
  });
  const guestDir = await installGuest(flags.guest);
  const agent: AgentConfig = {
    node: made.node,
    address: made.agentAddress,
    bridge: env.bridge ?? before?.bridge ?? "hyperlane0",
    subnet4: subnet ?? before?.subnet4 ?? "10.77.0.0/16",
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
    tls: before?.tls ?? made.tls,
  };
  writeFileDurably(`${stateDir()}/agent.json`, JSON.stringify(agent));
  if (made.secret) out.done(`Admin token kept in ${writeContext({ url: made.url, token: made.secret })}`);
  await start(out);
  await untilConnected(out, made.url);
  await loadDefaultImage(made.url, `${guestDir}/debian-12.tar`, out);
  out.line("→ Next: vps up api-prod");
  return 0;
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

function hasMachines(): boolean {
  return existsSync(`${stateDir()}/machines`) && readdirSync(`${stateDir()}/machines`).length > 0;
}

function knownSecret(): string | undefined {
  try {
    return readContext().token;
  } catch {
    return undefined;
  }
}

function wholeNumber(flag: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new HyperlaneError("INVALID", `--${flag} must be a whole number from ${least} to ${most}, not "${text}".`, { field: flag });
}

/** The first start probes for virtualization by booting a kernel, which takes seconds where it does not work. */
async function untilConnected(out: Output, url: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  const { createClient } = await import("#sdk/client.ts");
  for (;;) {
    const nodes = await createClient({ ...readContext(), url })
      .listNodes()
      .then(
        (n) => n.items,
        (e: HyperlaneError) => (e.code === "UNAVAILABLE" ? [] : Promise.reject(e)),
      );
    const up = nodes.find((n) => n.connected && n.status);
    if (up)
      return out.done(`Node ${up.name} is connected; machines run on ${up.status!.accelerator === "kvm" ? "KVM" : "software emulation"}`);
    if (Date.now() > deadline)
      throw new HyperlaneError("TIMEOUT", "The node did not connect within a minute.", {
        hint: `Look into ${logDir()}/agent.log and ${logDir()}/serve.log.`,
      });
    await Bun.sleep(50);
  }
}

/** The image that machines are made from unless another is named; a new build of it takes the name over. */
async function loadDefaultImage(url: string, archive: string, out: Output): Promise<void> {
  if (!existsSync(archive)) return;
  const { createRegistry } = await import("#oci/client.ts");
  const { loadArchive } = await import("#oci/archive.ts");
  const { createClient } = await import("#sdk/client.ts");
  const { token } = readContext();
  const { items } = await createClient({ url, token }).listImages();
  const head = await Bun.file(archive).slice(512, 4096).text();
  const digest = /"digest":"(sha256:[a-f0-9]{64})"/.exec(head)?.[1];
  if (items.some((i) => i.name === "debian:12" && i.target === digest)) return;
  const registry = createRegistry({ base: url, credentials: { username: "hyperlane", password: token }, push: true });
  for (const name of await loadArchive(registry, Bun.file(archive).stream() as unknown as AsyncIterable<Uint8Array>))
    out.done(`Image ${name} loaded`);
}

async function start(out: Output): Promise<void> {
  for (const role of ROLES) if (await supervisor().start(role)) out.done(`${TITLES[role]} started`);
}

async function stop(out: Output | null): Promise<void> {
  for (const role of ROLES) {
    const ran = await supervisor().stop(role);
    out?.done(`${TITLES[role]} ${ran ? "stopped" : "did not run"}`);
  }
}

async function status(out: Output): Promise<number> {
  const [control, agent] = await Promise.all(ROLES.map((role) => supervisor().runs(role)));
  out.data({ control, agent });
  for (const [name, runs] of Object.entries({ control, agent }))
    out.line(`${name.padEnd(8)} ${runs ? "runs" : "does not run: hyperlane start"}`);
  return control && agent ? 0 : 8;
}

async function foreground(role: Role): Promise<number> {
  const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`);
  const part =
    role === "serve"
      ? await (await import("#control/main.ts")).runControl(stateDir(), { version: VERSION, webDir: webDir(), log })
      : await (await import("#agent/main.ts")).runAgent(stateDir(), VERSION, [...self("hyperlane"), "convert"], log);
  return await new Promise((done) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const)
      process.once(signal, () => {
        void Promise.resolve(part.close()).finally(() => done(0));
      });
  });
}

async function jwt(name: string | undefined, flags: { role?: string; hours?: string }, out: Output): Promise<number> {
  if (name === undefined) throw new HyperlaneError("USAGE", "For whom? Give a NAME.", { hint: "hyperlane jwt ci --role viewer --hours 1" });
  const role = TokenRole.safeParse(flags.role ?? "admin");
  if (!role.success) throw new HyperlaneError("INVALID", `--role must be admin or viewer, not "${flags.role}".`, { field: "role" });
  const [{ readConfig }, { signJwt }] = [await import("#control/main.ts"), await import("#control/auth/jwt.ts")];
  const token = await signJwt(
    readConfig(stateDir()).jwtSecret,
    name,
    role.data,
    3600 * (wholeNumber("hours", flags.hours, 1, 24 * 366) ?? 24),
  );
  out.data({ token });
  out.line(token);
  return 0;
}

async function recover(out: Output): Promise<number> {
  if (await supervisor().runs("serve"))
    throw new HyperlaneError("CONFLICT", "The control plane runs.", { hint: "Stop it first: hyperlane stop" });
  const { recoverDatabase } = await import("#control/store/recover.ts");
  const done = recoverDatabase(`${stateDir()}/hyperlane.db`, new Date().toISOString().replace(/[:.]/g, "-"));
  out.data(done);
  out.done(`Kept ${done.kept} events up to ${done.lastAt ?? "the beginning"}; the damaged database is in ${basename(done.aside)}`);
  out.line("→ Next: hyperlane start");
  return 0;
}
