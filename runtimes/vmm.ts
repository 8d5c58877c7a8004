/** A VMM as a process of this program: started, waited for, ended. The door to child processes of the SDKs. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { constants } from "node:os";

const SOCKET_MS = 10_000;
const LOOK_MS = 5;

/** exitCode: as a shell would say it. */
export type Vmm = { readonly pid: number; readonly exited: Promise<number>; readonly ended: boolean; kill(signal?: NodeJS.Signals): void };

/** Starts it and waits until somebody listens at its socket. log: the file that takes what it says. Throws with the end of that where it ends instead. */
export async function startVmm(argv: readonly string[], { socket, log, cwd }: { socket: string; log: string; cwd?: string }): Promise<Vmm> {
  if (existsSync(socket)) {
    if (await answers(socket)) throw new Error(`Somebody serves ${socket} already.`);
    rmSync(socket);
  }
  const out = openSync(log, "a", 0o640);
  let child: ChildProcess;
  try {
    child = spawn(argv[0]!, argv.slice(1), { stdio: ["ignore", out, out], cwd });
  } finally {
    closeSync(out);
  }
  let ended = false;
  const exited = new Promise<number>((done, fail) => {
    child.on("error", (e) => ((ended = true), fail(new Error(`Cannot start ${argv[0]}: ${e.message}`))));
    child.on("exit", (code, signal) => ((ended = true), done(code ?? 128 + constants.signals[signal ?? "SIGKILL"])));
  });
  exited.catch(() => {});
  const vmm: Vmm = {
    pid: child.pid ?? 0,
    exited,
    get ended() {
      return ended;
    },
    kill: (signal = "SIGKILL") => void child.kill(signal),
  };
  for (const deadline = Date.now() + SOCKET_MS; !(await answers(socket)); await new Promise((done) => setTimeout(done, LOOK_MS))) {
    if (ended) await exited.then(() => Promise.reject(new Error(`${argv[0]} ended at once: ${tail(log)}`)));
    if (Date.now() > deadline) {
      vmm.kill();
      throw new Error(`${argv[0]} does not listen at ${socket} after ${SOCKET_MS / 1000} s: ${tail(log)}`);
    }
  }
  return vmm;
}

function answers(socket: string): Promise<boolean> {
  return new Promise((done) => {
    const s = createConnection(socket);
    s.on("connect", () => (s.destroy(), done(true))).on("error", () => done(false));
  });
}

/** The last that it said, for an error. */
export function tail(log: string): string {
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").slice(-3).join("; ") || "it said nothing" : "it said nothing";
}

/** Until it has ended, or that long. */
export async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((done) => (timer = setTimeout(() => done(false), ms)));
  return await Promise.race([work.then(() => true), late]).finally(() => clearTimeout(timer));
}
