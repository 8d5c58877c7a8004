/** `hyperlane`: what is done on a host. init, start, stop, status; and the two processes themselves in the foreground. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { readContext, writeContext } from "#cli/config.ts";
import { createOutput, type Output } from "#cli/render/output.ts";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { VERSION } from "#contract/version.ts";
import { self } from "#cli/program.ts";
import { Role as TokenRole } from "#contract/resources/other.ts";
import { readEnvironment } from "./environment.ts";
import { checkNode, hasControl, joinWith, wholeNumber, writeAgent, type Flags } from "./node.ts";
import { logDir, ROLES, stateDir, TITLES, webDir, type Role } from "./place.ts";
import { supervise, supervisor } from "./supervisor.ts";
import { uninstall } from "./uninstall.ts";

const HELP = `hyperlane: the control plane and the agent of this host

  hyperlane init       Make CAs, database and admin token, enrol this host as a node, start both
                       --port N (7420)  --subnet CIDR (10.77.0.0/16)  --zpool POOL  --guest DIR
                       --cpus N  --memory SIZE (offered to machines; the host's. More RAM than it has is a promise
                       that holds as long as machines do not all use theirs)
                       --address HOST (at which other nodes reach the agent of this one; 127.0.0.1, where there are no others)
                       --firecracker PROGRAM  --cloud-hypervisor PROGRAM (other VMMs to offer; those in PATH, where guests run in them)
                       --docker SOCKET (of the Docker engine for machines that are containers; /var/run/docker.sock)
                       --allow-folder DIR (of this host, for machines to mount what is below it; may be given again)
                       Also from the environment: PORT, DATA_DIR, BRIDGE_NAME, SUBNET_CIDR, UPLINK_INTERFACE,
                       JWT_SECRET, DNS_SERVER, MAX_CONCURRENT_BUILDS, MAX_OVERLAY_SIZE, DISABLE_AUTH (true:
                       Hyperfleet's API asks for no token)
  hyperlane join WORD  Make this host a node of a control plane elsewhere: WORD is what vps node add printed there. With
                       those flags of init that are about a node
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
        address: { type: "string" },
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
      case "join":
        return await join(positionals[1], values, out);
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

async function init(flags: Flags, out: Output): Promise<number> {
  const env = readEnvironment(process.env);
  const checked = checkNode(flags, env);
  const port = wholeNumber("port", flags.port, 1, 65534) ?? env.port;
  if (checked.before && !hasControl())
    throw new HyperlaneError("CONFLICT", "This host is a node of a control plane elsewhere.", {
      hint: "`hyperlane uninstall` takes that away first.",
    });
  const { initControl } = await import("#control/init.ts");
  await stop(null);
  const made = await initControl({
    dir: stateDir(),
    port,
    nodeName: hostname().split(".")[0] || "node",
    agentHost: flags.address,
    secret: knownSecret(),
    jwtSecret: env.jwtSecret,
    disableAuth: env.disableAuth,
    maxDiskMib: env.maxDiskMib,
  });
  const enrolled = { node: made.node, address: made.agentAddress, tls: checked.before?.tls ?? made.tls };
  const guestDir = await writeAgent(flags, env, enrolled, checked);
  if (made.secret) out.done(`Admin token kept in ${writeContext({ url: made.url, token: made.secret })}`);
  await start(out);
  await untilConnected(out, made.url);
  await loadDefaultImage(made.url, `${guestDir}/debian-12.tar`, out);
  out.line("→ Next: vps up api-prod");
  return 0;
}

async function join(word: string | undefined, flags: Flags, out: Output): Promise<number> {
  await stop(null);
  await joinWith(word, flags);
  await start(out);
  out.line("→ Next, where the control plane is: vps node list");
  return 0;
}

function knownSecret(): string | undefined {
  try {
    return readContext().token;
  } catch {
    return undefined;
  }
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

function rolesHere(): readonly Role[] {
  return ROLES.filter((role) => role === "agent" || hasControl());
}

async function start(out: Output): Promise<void> {
  for (const role of rolesHere()) if (await supervisor().start(role)) out.done(`${TITLES[role]} started`);
}

async function stop(out: Output | null): Promise<void> {
  for (const role of ROLES) {
    const ran = await supervisor().stop(role);
    out?.done(`${TITLES[role]} ${ran ? "stopped" : "did not run"}`);
  }
}

async function status(out: Output): Promise<number> {
  const runs = await Promise.all(rolesHere().map(async (role) => ({ role, is: await supervisor().runs(role) })));
  out.data(Object.fromEntries(runs.map(({ role, is }) => [role === "serve" ? "control" : role, is])));
  for (const { role, is } of runs)
    out.line(`${(role === "serve" ? "control" : role).padEnd(8)} ${is ? "runs" : "does not run: hyperlane start"}`);
  return runs.every(({ is }) => is) ? 0 : 8;
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
