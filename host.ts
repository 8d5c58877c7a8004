/** `hyperlane`: what is done on a host. init, start, stop, status; and the two processes themselves in the foreground. */
import { copyFileSync, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname } from "node:path";
import { parseArgs } from "node:util";
import { identify, isAlive, kill, type ProcessId } from "#agent/host/process.ts";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import { spawnDetached } from "#agent/host/run.ts";
import type { AgentConfig } from "#agent/main.ts";
import { writeContext } from "#cli/config.ts";
import { createOutput } from "#cli/render/output.ts";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { VERSION } from "#contract/version.ts";

const HELP = `hyperlane: the control plane and the agent of this host

  hyperlane init       Make CAs, database and admin token, enrol this host as a node, start both
                       --port N (7420)  --subnet CIDR (10.77.0.0/16)  --zpool POOL  --cpus N  --guest DIR
  hyperlane start      Start control plane and agent; each is started again when it ends
  hyperlane stop       Stop both. Machines keep running
  hyperlane status     Whether they run
  hyperlane serve      The control plane, in the foreground
  hyperlane agent      The agent, in the foreground
  hyperlane recover    After a damaged database: go back to the last good event
  hyperlane version

State is in /var/lib/hyperlane (HYPERLANE_DIR), logs in /var/log/hyperlane.`;

const dir = (): string => process.env.HYPERLANE_DIR ?? "/var/lib/hyperlane";
const logDir = (): string => (process.env.HYPERLANE_DIR ? `${dir()}/log` : "/var/log/hyperlane");
const ROLES = ["serve", "agent"] as const;

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
        guest: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
        to: { type: "string" },
      },
    });
    if (values.help || !positionals.length || positionals[0] === "help") return (out.line(HELP), 0);
    switch (positionals[0]) {
      case "init":
        return await init(values, out);
      case "start":
        return (start(out), 0);
      case "stop":
        return (await stop(out), 0);
      case "status":
        return status(out);
      case "serve":
        return await foreground("serve");
      case "agent":
        return await foreground("agent");
      case "supervise":
        return await supervise(positionals[1] as (typeof ROLES)[number]);
      case "recover":
        return await recover(out);
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

type Flags = { port?: string; subnet?: string; zpool?: string; cpus?: string; guest?: string };

async function init(flags: Flags, out: ReturnType<typeof createOutput>): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new HyperlaneError("FORBIDDEN", "init sets up networks and machines, so it must run as root.", { hint: "sudo hyperlane init" });
  const port = Number(flags.port ?? 7420);
  const { initControl } = await import("#control/init.ts");
  await stop(out, true);
  const agentAddress = `127.0.0.1:${port + 1}`;
  const made = await initControl({ dir: dir(), port, agentAddress, nodeName: hostname().split(".")[0] || "node" });
  const guestDir = `${dir()}/guest`;
  mkdirSync(guestDir, { recursive: true, mode: 0o755 });
  const from = flags.guest ?? (fromSource() ? `${import.meta.dirname}/build/guest` : `${dirname(process.execPath)}/guest`);
  for (const file of ["vmlinux", "initramfs", "debian-12.erofs"]) {
    const source = `${from}/${file}`;
    if (!existsSync(source)) continue;
    if (!existsSync(`${guestDir}/${file}`) || statSync(source).mtimeMs > statSync(`${guestDir}/${file}`).mtimeMs)
      copyFileSync(source, `${guestDir}/${file}`);
  }
  const before = readJson(`${dir()}/agent.json`) as AgentConfig | undefined;
  const agent: AgentConfig = {
    node: made.node,
    address: agentAddress,
    bridge: before?.bridge ?? "hyperlane0",
    subnet4: flags.subnet ?? before?.subnet4 ?? "10.77.0.0/16",
    zpool: flags.zpool ?? before?.zpool ?? null,
    cpus: flags.cpus === undefined ? (before?.cpus ?? null) : Number(flags.cpus),
    guestDir,
    tls: before?.tls ?? made.tls!,
  };
  writeFileDurably(`${dir()}/agent.json`, JSON.stringify(agent));
  if (made.secret) out.done(`Admin token kept in ${writeContext({ url: `http://127.0.0.1:${port}`, token: made.secret })}`);
  start(out);
  await untilConnected(out, `http://127.0.0.1:${port}`);
  out.line("→ Next: vps up api-prod");
  return 0;
}

/** The first start probes for virtualization by booting a kernel, which takes seconds where it does not work. */
async function untilConnected(out: ReturnType<typeof createOutput>, url: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  const { createClient } = await import("#sdk/client.ts");
  const { readContext } = await import("#cli/config.ts");
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

function pidFile(role: string): string {
  return `${dir()}/${role}.pid`;
}

function supervisor(role: string): ProcessId | undefined {
  const id = readJson(pidFile(role)) as ProcessId | undefined;
  return id && isAlive(id) ? id : undefined;
}

/** How this very program is called again. */
function self(): string[] {
  return fromSource() ? [process.execPath, Bun.main, "hyperlane"] : [process.execPath, "hyperlane"];
}

function fromSource(): boolean {
  return !Bun.main.startsWith("/$bunfs");
}

function start(out: ReturnType<typeof createOutput>): void {
  mkdirSync(logDir(), { recursive: true, mode: 0o750 });
  for (const role of ROLES) {
    if (supervisor(role)) continue;
    const pid = spawnDetached([...self(), "supervise", role], `${logDir()}/${role}.log`, {
      ...(process.env.HYPERLANE_DIR && { HYPERLANE_DIR: process.env.HYPERLANE_DIR }),
    });
    const id = identify(pid);
    if (id) writeFileDurably(pidFile(role), JSON.stringify(id));
    out.done(`${role === "serve" ? "Control plane" : "Agent"} started`);
  }
}

/** Starts its role again whenever it ends, with a growing pause while it ends at once. */
async function supervise(role: (typeof ROLES)[number]): Promise<number> {
  let pause = 100;
  let child: ReturnType<typeof Bun.spawn> | undefined;
  let stopping = false;
  process.on("SIGTERM", () => {
    stopping = true;
    child?.kill("SIGTERM");
  });
  while (!stopping) {
    const from = Date.now();
    child = Bun.spawn([...self(), role], { stdio: ["ignore", "inherit", "inherit"] });
    await child.exited;
    if (stopping) break;
    pause = Date.now() - from > 10_000 ? 100 : Math.min(pause * 2, 10_000);
    process.stderr.write(`${new Date().toISOString()} ${role} ended (${child.exitCode ?? child.signalCode}); again in ${pause} ms\n`);
    await Bun.sleep(pause);
  }
  return 0;
}

async function stop(out: ReturnType<typeof createOutput>, quiet = false): Promise<void> {
  for (const role of ROLES) {
    const id = supervisor(role);
    if (id) {
      kill(id, "SIGTERM");
      for (let i = 0; i < 500 && isAlive(id); i++) await Bun.sleep(10);
      kill(id, "SIGKILL");
    }
    rmSync(pidFile(role), { force: true });
    if (!quiet) out.done(`${role === "serve" ? "Control plane" : "Agent"} ${id ? "stopped" : "did not run"}`);
  }
}

function status(out: ReturnType<typeof createOutput>): number {
  const running = Object.fromEntries(ROLES.map((r) => [r === "serve" ? "control" : "agent", supervisor(r) !== undefined]));
  out.data(running);
  for (const [name, runs] of Object.entries(running)) out.line(`${name.padEnd(8)} ${runs ? "runs" : "does not run: hyperlane start"}`);
  return Object.values(running).every(Boolean) ? 0 : 8;
}

async function foreground(role: (typeof ROLES)[number]): Promise<number> {
  const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`);
  const part =
    role === "serve"
      ? await (await import("#control/main.ts")).runControl(dir(), VERSION, log)
      : await (await import("#agent/main.ts")).runAgent(dir(), VERSION, log);
  return await new Promise((done) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const)
      process.once(signal, () => {
        part.close();
        done(0);
      });
  });
}

async function recover(out: ReturnType<typeof createOutput>): Promise<number> {
  if (supervisor("serve")) throw new HyperlaneError("CONFLICT", "The control plane runs.", { hint: "Stop it first: hyperlane stop" });
  const { recoverDatabase } = await import("#control/store/recover.ts");
  const done = recoverDatabase(`${dir()}/hyperlane.db`, new Date().toISOString().replace(/[:.]/g, "-"));
  out.data(done);
  out.done(`Kept ${done.kept} events up to ${done.lastAt ?? "the beginning"}; the damaged database is in ${basename(done.aside)}`);
  out.line("→ Next: hyperlane start");
  return 0;
}
