/** Starts QEMU processes, finds them again, and steers them over QMP. */
import {
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import type { Driver, ProcessId, Vm, VmSpec, VmState } from "../driver.ts";
import {
  CONSOLE,
  devicesFile,
  devicesUri,
  DISK_NODE,
  emptyFile,
  folderSocket,
  IMAGE_NODE,
  qemuArgv,
  qmpSocket,
  QEMU,
  virtiofsdArgv,
  volumeNode,
  WORKLOAD,
} from "./command.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

/** The host's doors, handed in so that this folder needs none of its own. */
export type HostDoors = {
  /** cwd: the folder that it works in. output: the file that takes what it says. descriptors: handed on to it as 3 and up. */
  spawn(argv: string[], how: { cwd: string; output: string; descriptors?: number[]; env?: Record<string, string> }): number;
  /** discard.c, as a library. */
  discards: string;
  run(argv: string[]): Promise<string>;
  identify(pid: number): ProcessId | undefined;
  isAlive(id: ProcessId): boolean;
  kill(id: ProcessId): Promise<void>;
  findByFolder(root: string): { id: ProcessId; folder: string }[];
  /** The last lines of a file, for an error. */
  tail(path: string): string;
  saveMemory(process: ProcessId, bytes: number, path: string, whole: string | null): Promise<number>;
  restoreMemory(process: ProcessId, bytes: number, path: string): Promise<void>;
  confine(id: string, pid: number, limits: { cpu: number; memoryMib: number }): Promise<void>;
};

const SOCKET_MS = 10_000;
/** A process that ends at once makes no file. */
const LOOK_MS = 50;

export function createQemu(host: HostDoors): Driver {
  return {
    name: "qemu",
    version: async () => (await host.run([QEMU, "--version"])).split("\n")[0]!,
    async start(spec, signal) {
      rmSync(spec.runDir, { recursive: true, force: true });
      mkdirSync(spec.runDir, { recursive: true, mode: 0o700 });
      chownSync(spec.runDir, spec.uid, spec.uid);
      writeFileSync(emptyFile(spec.runDir), "", { mode: 0o600 });
      chownSync(emptyFile(spec.runDir), spec.uid, spec.uid);
      for (const [place, folder] of spec.folders.entries()) await serveFolder(spec, place, folder.source, host, signal);
      const output = `${spec.runDir}/vmm.log`;
      const appeared = appearance(spec.runDir, qmpSocket(spec.runDir), signal);
      const process = host.identify(await spawn(spec, host, output));
      const because = (): string => host.tail(output) || "it said nothing";
      if (!process) throw new Error(`QEMU ended at once: ${because()}`);
      await using undo = new AsyncDisposableStack();
      undo.defer(() => host.kill(process));
      const confined = host.confine(spec.id, process.pid, spec);
      confined.catch(() => {});
      const ended = (): boolean => !host.isAlive(process);
      const qmp = (await appeared(ended)) ? await connect(qmpSocket(spec.runDir), ended) : undefined;
      if (!qmp) throw new Error(`QEMU ${ended() ? "ended at once" : `gave no control socket within ${SOCKET_MS / 1000} s`}: ${because()}`);
      await confined;
      if (spec.from?.own) {
        await host.restoreMemory(process, spec.memoryMib * 2 ** 20, spec.from.own);
        await qmp.execute("migrate-incoming", { uri: devicesUri() });
        // Before its devices are there this says that it is to run once they are.
        if (!spec.from.paused) await qmp.execute("cont");
      }
      for (; spec.from?.paused && (await statusOf(qmp)) === "inmigrate"; await Bun.sleep(1)) signal.throwIfAborted();
      undo.move();
      return createVm(process, qmp, host, spec.runDir);
    },
    async attach(process, runDir) {
      if (!host.isAlive(process)) return undefined;
      const qmp = await connectQmp(qmpSocket(runDir)).catch(() => undefined);
      return qmp ? createVm(process, qmp, host, runDir) : undefined;
    },
    list: async (runRoot) => host.findByFolder(runRoot).map(({ id, folder }) => ({ id: folder, process: id })),
    forget: async () => {},
  };
}

async function spawn(spec: VmSpec, host: HostDoors, output: string): Promise<number> {
  const argv = qemuArgv(spec, kvmGroup(spec));
  const how = { cwd: spec.runDir, output, env: { LD_PRELOAD: host.discards } };
  if (!spec.from) return host.spawn(argv, how);
  const memory = await spec.from.memory();
  const devices = openSync(spec.from.devices, "r");
  try {
    return host.spawn(argv, { ...how, descriptors: [memory, devices] });
  } finally {
    closeSync(devices);
  }
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

/** A socket is there a moment before anybody listens at it. */
async function connect(socket: string, ended: () => boolean): Promise<Qmp | undefined> {
  for (const deadline = Date.now() + SOCKET_MS; !ended() && Date.now() < deadline; await Bun.sleep(1)) {
    const qmp = await connectQmp(socket).catch(() => undefined);
    if (qmp) return qmp;
  }
  return undefined;
}

async function serveFolder(spec: VmSpec, place: number, source: string, host: HostDoors, signal: AbortSignal): Promise<void> {
  const output = `${spec.runDir}/folder${place}.log`;
  const socket = folderSocket(spec.runDir, place);
  const pid = host.spawn(virtiofsdArgv(spec.runDir, place, source), { cwd: spec.runDir, output });
  const process = host.identify(pid);
  if (process) await host.confine(spec.id, pid, spec);
  for (const deadline = Date.now() + SOCKET_MS; !existsSync(socket); await Bun.sleep(2)) {
    if (!process || !host.isAlive(process) || Date.now() > deadline)
      throw new Error(`virtiofsd does not serve "${source}": ${host.tail(output) || "it said nothing"}`);
    signal.throwIfAborted();
  }
  chownSync(socket, spec.uid, spec.uid);
}

/** RunState, qemu/qapi/run-state.json. */
async function statusOf(qmp: Qmp): Promise<string> {
  return ((await qmp.execute("query-status")) as { status: string }).status;
}

const STANDING = ["paused", "suspended", "save-vm", "prelaunch", "inmigrate"];

function kvmGroup(spec: VmSpec): number | null {
  return spec.accelerator === "kvm" ? statSync("/dev/kvm").gid : null;
}

/**
 * virtio-mmio devices cannot be plugged in, so a machine is born with disks of no size: what such a disk's node reads
 * is changed, and then its size (QEMU's blockdev-reopen, since 6.1).
 */
async function setContents(qmp: Qmp, disks: { node: string; file: string; readonly: boolean }[]): Promise<string[]> {
  const options = disks.map(({ node, file, readonly }) => {
    const content = { driver: "file", "node-name": `${node}-${crypto.randomUUID().slice(0, 8)}`, filename: file, locking: "off" };
    return { content: { ...content, discard: "unmap", "read-only": readonly }, node, readonly };
  });
  await Promise.all(options.map((o) => qmp.execute("blockdev-add", o.content)));
  await qmp.execute("blockdev-reopen", {
    options: options.map(({ content, node, readonly }) => ({
      ...{ driver: "raw", "node-name": node, "read-only": readonly, discard: "unmap" },
      file: content["node-name"],
    })),
  });
  return options.map((o) => o.content["node-name"]);
}

async function setContent(qmp: Qmp, node: string, file: string, readonly: boolean): Promise<void> {
  const [content] = await setContents(qmp, [{ node, file, readonly }]);
  await forgetContents(qmp, node, content!);
}

/** All that such a disk has read before. */
async function forgetContents(qmp: Qmp, node: string, but: string): Promise<void> {
  const nodes = (await qmp.execute("query-named-block-nodes", { flat: true })) as { "node-name": string }[];
  for (const { "node-name": name } of nodes)
    if (name.startsWith(`${node}-`) && name !== but) await qmp.execute("blockdev-del", { "node-name": name });
}

/** Where a character device writes, from now on. */
async function setLog(qmp: Qmp, id: string, path: string): Promise<void> {
  await qmp.execute("chardev-change", { id, backend: { type: "file", data: { out: path, append: true } } });
}

function createVm(process: ProcessId, qmp: Qmp, host: HostDoors, madeIn: string): Vm {
  let runDir = madeIn;
  const tellSize = async (place: number, size: number): Promise<void> =>
    void (await qmp.execute("block_resize", { "node-name": volumeNode(place), size }));
  const listeners = new Set<(what: "reset" | "off" | "gone" | "other") => void>();
  const tell = (what: "reset" | "off" | "gone" | "other"): void => listeners.forEach((l) => l(what));
  qmp.onEvent(({ event }) => tell(event === "RESET" ? "reset" : event === "SHUTDOWN" ? "off" : "other"));
  qmp.onClose(() => tell("gone"));
  return {
    process,
    async state(): Promise<VmState> {
      if (!host.isAlive(process)) return "gone";
      try {
        const status = await statusOf(qmp);
        if (status === "shutdown") return "off";
        if (status === "internal-error" || status === "guest-panicked" || status === "io-error") return "internal-error";
        return STANDING.includes(status) ? "paused" : "running";
      } catch (error) {
        if (!host.isAlive(process)) return "gone";
        throw error;
      }
    },
    pause: async () => void (await qmp.execute("stop")),
    resume: async () => void (await qmp.execute("cont")),
    powerButton: async () => void (await qmp.execute("system_powerdown")),
    async become(spec) {
      renameSync(runDir, spec.runDir);
      runDir = spec.runDir;
      const volumes = spec.volumes.flatMap(({ file }, place) =>
        file === null ? [] : [{ node: volumeNode(place), file, readonly: false }],
      );
      const [image, disk] = [
        { node: IMAGE_NODE, file: spec.image!, readonly: true },
        { node: DISK_NODE, file: spec.disk!, readonly: false },
      ];
      await Promise.all([setContents(qmp, [image, disk, ...volumes]), setLog(qmp, CONSOLE, spec.consoleLog)]);
      await qmp.execute("cont");
      // A virtio port lets go of where it writes while its guest stands still, and can be told of no other.
      await setLog(qmp, WORKLOAD, spec.workloadLog);
    },
    confine: (spec) => host.confine(spec.id, process.pid, spec),
    insertVolume: async (place, file) => {
      await setContent(qmp, volumeNode(place), file, false);
      await tellSize(place, statSync(file).size);
    },
    removeVolume: async (place, readonly) => {
      await setContent(qmp, volumeNode(place), emptyFile(runDir), readonly);
      // A read-only disk takes no orders: its guest finds out when it reads.
      if (!readonly) await tellSize(place, 0);
    },
    growVolume: (place, bytes) => tellSize(place, bytes),
    async save(to, memoryMib) {
      await qmp.execute("stop");
      rmSync(devicesFile(runDir), { force: true });
      // Its name is Xen's, who was first to want the devices without the RAM.
      await qmp.execute("xen-save-devices-state", { filename: devicesFile(runDir) });
      copyFileSync(devicesFile(runDir), to.devices);
      rmSync(devicesFile(runDir));
      await host.saveMemory(process, memoryMib * 2 ** 20, to.pages, to.whole);
    },
    usage: async () => null,
    quit: async () => void (await qmp.execute("quit").catch(() => {})),
    onChange: (listener) => void listeners.add(listener),
    detach: () => qmp.close(),
  };
}
