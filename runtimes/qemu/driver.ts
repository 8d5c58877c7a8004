/** Starts QEMU processes, finds them again, and steers them over QMP. */
import { existsSync, mkdirSync, chownSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ProcessId, Runtime, Vm, VmSpec, VmState } from "../runtime.ts";
import { emptyFile, folderSocket, idOfSocket, qemuArgv, qmpSocket, virtiofsdArgv, volumeNode } from "./command.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

/** The host's doors, handed in so that this folder needs none of its own. */
export type HostDoors = {
  spawn(argv: string[], outputPath: string): number;
  identify(pid: number): ProcessId | undefined;
  isAlive(id: ProcessId): boolean;
  findByArgument(matches: (argument: string) => string | undefined): { id: ProcessId; match: string }[];
  /** The last lines of a file, for an error. */
  tail(path: string): string;
  confine(id: string, pid: number, limits: { cpu: number; memoryMib: number }): void;
};

const SOCKET_MS = 10_000;

export function createQemu(host: HostDoors): Runtime {
  return {
    name: "qemu",
    async start(spec, signal) {
      rmSync(spec.runDir, { recursive: true, force: true });
      mkdirSync(spec.runDir, { recursive: true, mode: 0o700 });
      chownSync(spec.runDir, spec.uid, spec.uid);
      writeFileSync(emptyFile(spec.runDir), "", { mode: 0o600 });
      chownSync(emptyFile(spec.runDir), spec.uid, spec.uid);
      for (const [place, folder] of spec.folders.entries()) await serveFolder(spec, place, folder.source, host, signal);
      const output = `${spec.runDir}/vmm.log`;
      const pid = host.spawn(qemuArgv(spec, kvmGroup(spec)), output);
      const process = host.identify(pid);
      if (process) host.confine(spec.id, pid, spec);
      const deadline = Date.now() + SOCKET_MS;
      for (;;) {
        const qmp = existsSync(qmpSocket(spec.runDir)) ? await connectQmp(qmpSocket(spec.runDir)).catch(() => undefined) : undefined;
        if (qmp && process) return createVm(process, qmp, host, spec.runDir);
        if (!process || !host.isAlive(process)) throw new Error(`QEMU ended at once: ${host.tail(output) || "it said nothing"}`);
        signal.throwIfAborted();
        if (Date.now() > deadline) throw new Error(`QEMU made no control socket within ${SOCKET_MS / 1000} s: ${host.tail(output)}`);
        await Bun.sleep(2);
      }
    },
    async attach(process, runDir) {
      if (!host.isAlive(process)) return undefined;
      const qmp = await connectQmp(qmpSocket(runDir)).catch(() => undefined);
      return qmp ? createVm(process, qmp, host, runDir) : undefined;
    },
    list: (runRoot) => host.findByArgument((a) => idOfSocket(runRoot, a)).map(({ id, match }) => ({ id: match, process: id })),
  };
}

async function serveFolder(spec: VmSpec, place: number, source: string, host: HostDoors, signal: AbortSignal): Promise<void> {
  const output = `${spec.runDir}/folder${place}.log`;
  const socket = folderSocket(spec.runDir, place);
  const pid = host.spawn(virtiofsdArgv(spec.runDir, place, source), output);
  const process = host.identify(pid);
  if (process) host.confine(spec.id, pid, spec);
  for (const deadline = Date.now() + SOCKET_MS; !existsSync(socket); await Bun.sleep(2)) {
    if (!process || !host.isAlive(process) || Date.now() > deadline)
      throw new Error(`virtiofsd does not serve "${source}": ${host.tail(output) || "it said nothing"}`);
    signal.throwIfAborted();
  }
  chownSync(socket, spec.uid, spec.uid);
}

function kvmGroup(spec: VmSpec): number | null {
  return spec.accelerator === "kvm" ? statSync("/dev/kvm").gid : null;
}

/**
 * virtio-mmio devices cannot be plugged in, so a machine is born with disks of no size: what such a disk's node reads
 * is changed, and then its size (QEMU's blockdev-reopen, since 6.1).
 */
async function setContent(qmp: Qmp, place: number, filename: string, readonly: boolean): Promise<void> {
  const node = volumeNode(place);
  const content = `${node}-${crypto.randomUUID().slice(0, 8)}`;
  const file = { driver: "file", "node-name": content, filename, locking: "off", discard: "unmap", "read-only": readonly };
  await qmp.execute("blockdev-add", file);
  await qmp.execute("blockdev-reopen", {
    options: [{ driver: "raw", "node-name": node, "read-only": readonly, discard: "unmap", file: content }],
  });
  const nodes = (await qmp.execute("query-named-block-nodes", { flat: true })) as { "node-name": string }[];
  for (const { "node-name": name } of nodes)
    if (name.startsWith(`${node}-`) && name !== content) await qmp.execute("blockdev-del", { "node-name": name });
}

function createVm(process: ProcessId, qmp: Qmp, host: HostDoors, runDir: string): Vm {
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
        const { status } = (await qmp.execute("query-status")) as { status: string };
        if (status === "shutdown") return "off";
        if (status === "internal-error" || status === "guest-panicked" || status === "io-error") return "internal-error";
        return status === "paused" || status === "suspended" ? "paused" : "running";
      } catch (error) {
        if (!host.isAlive(process)) return "gone";
        throw error;
      }
    },
    pause: async () => void (await qmp.execute("stop")),
    resume: async () => void (await qmp.execute("cont")),
    powerButton: async () => void (await qmp.execute("system_powerdown")),
    insertVolume: async (place, file) => {
      await setContent(qmp, place, file, false);
      await tellSize(place, statSync(file).size);
    },
    removeVolume: async (place, readonly) => {
      await setContent(qmp, place, emptyFile(runDir), readonly);
      // A read-only disk takes no orders: its guest finds out when it reads.
      if (!readonly) await tellSize(place, 0);
    },
    growVolume: (place, bytes) => tellSize(place, bytes),
    quit: async () => void (await qmp.execute("quit").catch(() => {})),
    onChange: (listener) => void listeners.add(listener),
    detach: () => qmp.close(),
  };
}
