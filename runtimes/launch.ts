/** How the VMM of a machine is started, whichever it is: as nobody, in a folder of its own, found again by that, with limits. */
import { chownSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, watch, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { asNobody, emptyFile, folderSocket, OWN, vsockSocket } from "./command.ts";
import type { Driver, ProcessId, Vm, VmSpec } from "./driver.ts";
import type { VmmMachine } from "./machine.ts";

/** The host's doors, handed in so that these folders need none of their own. */
export type HostDoors = {
  /** cwd: the folder that it works in. output: the file that takes what it says. descriptors: handed on to it as 3 and up. */
  spawn(argv: string[], how: { cwd: string; output: string; descriptors?: number[]; env?: Record<string, string> }): number;
  run(argv: string[]): Promise<string>;
  identify(pid: number): ProcessId | undefined;
  isAlive(id: ProcessId): boolean;
  kill(id: ProcessId): Promise<void>;
  findByFolder(root: string): { id: ProcessId; folder: string }[];
  /** The last lines of a file, for an error. */
  tail(path: string): string;
  confine(id: string, pid: number, limits: { cpu: number; memoryMib: number }): Promise<void>;
  /** A file of raw RAM as a page file. */
  packMemory(file: string, to: string): Promise<unknown>;
};

const SOCKET_MS = 10_000;
/** A process that ends at once makes no file. */
const LOOK_MS = 50;

export function kvmGroup(): number {
  return existsSync("/dev/kvm") ? statSync("/dev/kvm").gid : 0;
}

/** Anew: whatever was left there goes. */
export function makeRunDir({ runDir, uid }: Pick<VmSpec, "runDir" | "uid">): void {
  rmSync(runDir, { recursive: true, force: true });
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  chownSync(runDir, uid, uid);
  giveFile(emptyFile(runDir), uid);
}

/** The files that a VMM calls by names of its folder's. */
export function linkFiles({ runDir, image, disk, consoleLog }: VmSpec): void {
  for (const [name, file] of [
    [OWN.image, image],
    [OWN.disk, disk],
    [OWN.console, consoleLog],
  ] as const)
    symlinkSync(file ?? OWN.empty, `${runDir}/${name}`);
}

/** An empty file that this user may write to. */
export function giveFile(path: string, uid: number): void {
  writeFileSync(path, "", { mode: 0o600, flag: "a" });
  chownSync(path, uid, uid);
}

/**
 * Starts a VMM, and waits until its control socket is there, a moment before anybody listens at it. Ended where anything fails, with what it said. A VMM that opens its
 * socket late is waited for, one that has ended is not.
 */
export async function launch(
  spec: VmSpec,
  argv: string[],
  how: { output: string; socket: string; env?: Record<string, string>; descriptors?: number[] },
  host: HostDoors,
  signal: AbortSignal,
): Promise<ProcessId> {
  const { output, socket, ...rest } = how;
  const appeared = appearance(spec.runDir, socket, signal);
  const process = host.identify(host.spawn(argv, { cwd: spec.runDir, output, ...rest }));
  const name = argv[argv.lastIndexOf("--") + 1] ?? argv[0]!;
  const program = name.slice(name.lastIndexOf("/") + 1);
  const because = (): string => host.tail(output) || "it said nothing";
  if (!process) throw new Error(`${program} ended at once: ${because()}`);
  const ended = (): boolean => !host.isAlive(process);
  try {
    const confined = host.confine(spec.id, process.pid, spec);
    confined.catch(() => {});
    if (!(await appeared(ended)))
      throw new Error(`${program} ${ended() ? "ended at once" : `gave no control socket within ${SOCKET_MS / 1000} s`}: ${because()}`);
    await confined;
    return process;
  } catch (thrown) {
    await host.kill(process);
    throw thrown;
  }
}

/** One of the classes, started by us in place of its own way to start its program. start: its process. Ended where the rest fails; log: what it says. */
export async function startClass<M extends VmmMachine>(
  machine: M,
  start: () => Promise<ProcessId>,
  { host, log }: { host: HostDoors; log: string },
): Promise<ProcessId> {
  let process: ProcessId | undefined;
  machine.handlers.init.replace("StartVMM", async () => {
    process = await start();
    await untilListens(machine.socketPath, () => host.isAlive(process!));
  });
  try {
    await machine.start();
    return process!;
  } catch (thrown) {
    if (process) await host.kill(process);
    throw new Error(`${(thrown as Error).message}; ${host.tail(log) || "it said no more"}`, { cause: thrown });
  }
}

/** What such a driver knows of its processes without asking them. */
export function byFolder(host: HostDoors, vmOf: (process: ProcessId, runDir: string) => Vm): Pick<Driver, "attach" | "list" | "forget"> {
  return {
    attach: async (process, runDir) => (host.isAlive(process) ? vmOf(process, runDir) : undefined),
    list: async (runRoot) => host.findByFolder(runRoot).map(({ id, folder }) => ({ id: folder, process: id })),
    forget: async () => {},
  };
}

/** Watches from now on for a file to be made; then waits for it. false: it took too long, or `ended` says that it will not be. */
function appearance(dir: string, path: string, signal: AbortSignal): (ended: () => boolean) => Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const look = (): void => void (existsSync(path) && resolve(true));
  const watcher = watch(dir, look);
  return async (ended) => {
    const deadline = Date.now() + SOCKET_MS;
    const timer = setInterval(() => (look(), (ended() || Date.now() > deadline) && resolve(false)), LOOK_MS);
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop);
    look();
    try {
      return await promise;
    } finally {
      clearInterval(timer);
      watcher.close();
      signal.removeEventListener("abort", stop);
    }
  };
}

async function untilListens(socket: string, alive: () => boolean): Promise<void> {
  for (const deadline = Date.now() + SOCKET_MS; alive() && Date.now() < deadline; await Bun.sleep(1)) {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const s = createConnection(socket);
    s.on("connect", () => resolve(true)).on("error", () => resolve(false));
    const there = await promise;
    s.destroy();
    if (there) return;
  }
  throw new Error(alive() ? `nobody listens at its control socket after ${SOCKET_MS / 1000} s` : "it ended at once");
}

/** A program beside the VMM, of the machine's, until it listens. */
async function serve(spec: VmSpec, argv: string[], socket: string, output: string, host: HostDoors, signal: AbortSignal): Promise<void> {
  const process = host.identify(host.spawn(argv, { cwd: spec.runDir, output }));
  if (process) await host.confine(spec.id, process.pid, spec);
  for (const deadline = Date.now() + SOCKET_MS; !existsSync(socket); await Bun.sleep(2)) {
    if (!process || !host.isAlive(process) || Date.now() > deadline)
      throw new Error(`${argv.join(" ")}: ${host.tail(output) || "it said nothing"}`);
    signal.throwIfAborted();
  }
}

const VIRTIOFSD = "/usr/lib/qemu/virtiofsd";

/** The daemons that serve folders to one guest, and end with it. Each shuts itself in its folder before it serves. */
export async function serveFolders(spec: VmSpec, host: HostDoors, signal: AbortSignal): Promise<void> {
  for (const [place, { source }] of spec.folders.entries()) {
    const socket = folderSocket(spec.runDir, place);
    const argv = [VIRTIOFSD, `--socket-path=${socket}`, "-o", `source=${source}`, "-o", "sandbox=namespace", "-o", "cache=auto"];
    await serve(spec, argv, socket, `${spec.runDir}/folder${place}.log`, host, signal);
    chownSync(socket, spec.uid, spec.uid);
  }
}

const LOG_PORT = 1025;

/** relay: runtimes/relay.c, as a program. What the workload prints goes to its file, whoever else is alive. */
export async function serveLog(spec: VmSpec, relay: string, host: HostDoors, signal: AbortSignal): Promise<void> {
  const socket = `${vsockSocket(spec.runDir)}_${LOG_PORT}`;
  await serve(spec, [...asNobody(spec.uid, null), relay, socket, spec.workloadLog], socket, `${spec.runDir}/relay.log`, host, signal);
}

/** Who is told when the process has ended: it had its control socket open. */
export function watchEnd(socket: string, isAlive: () => boolean): Pick<Vm, "onChange" | "detach"> {
  const listeners = new Set<Parameters<Vm["onChange"]>[0]>();
  let closed = false;
  let held: ReturnType<typeof createConnection> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hold = (): void => {
    held = createConnection(socket);
    held.on("error", () => {}).resume();
    held.on("close", () => {
      if (closed) return;
      if (!isAlive()) return listeners.forEach((l) => l("gone"));
      timer = setTimeout(hold, LOOK_MS);
    });
  };
  hold();
  return {
    onChange: (listener) => void listeners.add(listener),
    detach(): void {
      closed = true;
      clearTimeout(timer);
      held?.destroy();
    },
  };
}
