/** What keeps control plane and agent running: systemd where it runs the host, a small supervisor of our own elsewhere. */
import { mkdirSync, rmSync } from "node:fs";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import { identify, isAlive, kill, type ProcessId } from "#agent/host/process.ts";
import { spawnDetached } from "#agent/host/run.ts";
import { self } from "#cli/program.ts";
import { logDir, ownDir, stateDir, type Role } from "./place.ts";
import { runsSystemd, systemd } from "./systemd.ts";

export type Supervisor = {
  /** false: it runs already. */
  start(role: Role): Promise<boolean>;
  /** false: it did not run. */
  stop(role: Role): Promise<boolean>;
  runs(role: Role): Promise<boolean>;
};

/** A state folder of one's own is a trial beside the host's own installation: systemd has nothing to do with it. */
export function supervisor(): Supervisor {
  return runsSystemd() && !ownDir() ? systemd : own;
}

const pidFile = (role: Role): string => `${stateDir()}/${role}.pid`;

function find(role: Role): ProcessId | undefined {
  const id = readJson(pidFile(role)) as ProcessId | undefined;
  return id && isAlive(id) ? id : undefined;
}

const own: Supervisor = {
  async start(role) {
    if (find(role)) return false;
    mkdirSync(logDir(), { recursive: true, mode: 0o750 });
    const env: Record<string, string> = ownDir() ? { HYPERLANE_DIR: stateDir() } : {};
    const id = identify(spawnDetached([...self("hyperlane"), "supervise", role], `${logDir()}/${role}.log`, { env }));
    if (id) writeFileDurably(pidFile(role), JSON.stringify(id));
    return true;
  },
  async stop(role) {
    const id = find(role);
    if (id) {
      kill(id, "SIGTERM");
      for (let i = 0; i < 500 && isAlive(id); i++) await Bun.sleep(10);
      kill(id, "SIGKILL");
    }
    rmSync(pidFile(role), { force: true });
    return id !== undefined;
  },
  runs: async (role) => find(role) !== undefined,
};

const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 10_000;

/** The supervisor's process: starts its role again whenever that ends, with a growing pause while it ends at once. */
export async function supervise(role: Role): Promise<number> {
  let pause = PAUSE_MIN_MS;
  let child: ReturnType<typeof Bun.spawn> | undefined;
  let stopping = false;
  process.on("SIGTERM", () => {
    stopping = true;
    child?.kill("SIGTERM");
  });
  while (!stopping) {
    const from = Date.now();
    child = Bun.spawn([...self("hyperlane"), role], { stdio: ["ignore", "inherit", "inherit"] });
    await child.exited;
    if (stopping) break;
    pause = Date.now() - from > PAUSE_MAX_MS ? PAUSE_MIN_MS : Math.min(pause * 2, PAUSE_MAX_MS);
    process.stderr.write(`${new Date().toISOString()} ${role} ended (${child.exitCode ?? child.signalCode}); again in ${pause} ms\n`);
    await Bun.sleep(pause);
  }
  return 0;
}
