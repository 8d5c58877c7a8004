/** Starts QEMU processes, finds them again, and steers them over QMP. */
import { closeSync, copyFileSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import type { Driver, ProcessId, Vm, VmSpec, VmState } from "../driver.ts";
import { emptyFile } from "../command.ts";
import { kvmGroup, launch, makeRunDir, serveFolders, type HostDoors } from "../launch.ts";
import {
  CONSOLE,
  devicesFile,
  devicesUri,
  DISK_NODE,
  guestSocket,
  IMAGE_NODE,
  qemuArgv,
  qmpSocket,
  QEMU,
  volumeNode,
  WORKLOAD,
} from "./command.ts";
import { awaitMigration, moverOf, untilArrived } from "./migrate.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

const DIAL_MS = 10_000;

export type QemuDoors = HostDoors & {
  /** discard.c, as a library. */
  discards: string;
  saveMemory(process: ProcessId, bytes: number, path: string, whole: string | null): Promise<number>;
  restoreMemory(process: ProcessId, bytes: number, path: string): Promise<void>;
};

export function createQemu(host: QemuDoors): Driver {
  return {
    name: "qemu",
    savesWhole: false,
    guest: (runDir) => ({ path: guestSocket(runDir) }),
    version: async () => (await host.run([QEMU, "--version"])).split("\n")[0]!,
    async start(spec, signal) {
      makeRunDir(spec);
      await serveFolders(spec, host, signal);
      const process = await spawn(spec, host, signal);
      await using undo = new AsyncDisposableStack();
      undo.defer(() => host.kill(process));
      const qmp = await dial(spec.runDir, () => host.isAlive(process));
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
    async receive(spec, boots, signal) {
      makeRunDir(spec);
      const at = { disk: `${spec.runDir}/move-disk.sock`, memory: `${spec.runDir}/move-memory.sock` };
      const argv = qemuArgv(spec, spec.accelerator === "kvm" ? kvmGroup() : null, { boots });
      const how = { output: `${spec.runDir}/vmm.log`, socket: qmpSocket(spec.runDir), env: { LD_PRELOAD: host.discards } };
      const process = await launch(spec, argv, how, host, signal);
      try {
        const qmp = await dial(spec.runDir, () => host.isAlive(process));
        await awaitMigration(qmp, DISK_NODE, at);
        return { vm: createVm(process, qmp, host, spec.runDir), ...at, arrived: (until) => untilArrived(qmp, until) };
      } catch (thrown) {
        await host.kill(process);
        throw thrown;
      }
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

async function spawn(spec: VmSpec, host: QemuDoors, signal: AbortSignal): Promise<ProcessId> {
  const argv = qemuArgv(spec, spec.accelerator === "kvm" ? kvmGroup() : null);
  const how = { output: `${spec.runDir}/vmm.log`, socket: qmpSocket(spec.runDir), env: { LD_PRELOAD: host.discards } };
  if (!spec.from) return await launch(spec, argv, how, host, signal);
  const memory = await spec.from.memory();
  const devices = openSync(spec.from.devices, "r");
  try {
    return await launch(spec, argv, { ...how, descriptors: [memory, devices] }, host, signal);
  } finally {
    closeSync(devices);
  }
}

/** A socket is there a moment before anybody listens at it. */
async function dial(runDir: string, alive: () => boolean): Promise<Qmp> {
  for (const deadline = Date.now() + DIAL_MS; alive() && Date.now() < deadline; await Bun.sleep(1)) {
    const qmp = await connectQmp(qmpSocket(runDir)).catch(() => undefined);
    if (qmp) return qmp;
  }
  throw new Error(alive() ? "QEMU does not answer at its control socket" : "QEMU ended at once");
}

/** RunState, qemu/qapi/run-state.json. */
async function statusOf(qmp: Qmp): Promise<string> {
  return ((await qmp.execute("query-status")) as { status: string }).status;
}

const STANDING = ["paused", "suspended", "save-vm", "prelaunch", "inmigrate", "finish-migrate", "postmigrate"];

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

/** Another file behind a disk of a running machine. */
export async function setContent(qmp: Qmp, node: string, file: string, readonly: boolean): Promise<void> {
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

function createVm(process: ProcessId, qmp: Qmp, host: QemuDoors, madeIn: string): Vm {
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
    mover: moverOf(qmp, DISK_NODE),
    usage: async () => null,
    quit: async () => void (await qmp.execute("quit").catch(() => {})),
    onChange: (listener) => void listeners.add(listener),
    detach: () => qmp.close(),
  };
}
