/** Starts QEMU processes, finds them again, and steers them over QMP. */
import { existsSync, mkdirSync, chownSync, rmSync, statSync } from "node:fs";
import type { ProcessId, Runtime, Vm, VmSpec, VmState } from "../runtime.ts";
import { idOfSocket, qemuArgv, qmpSocket } from "./command.ts";
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
      const output = `${spec.runDir}/vmm.log`;
      const pid = host.spawn(qemuArgv(spec, kvmGroup(spec)), output);
      const process = host.identify(pid);
      if (process) host.confine(spec.id, pid, spec);
      const deadline = Date.now() + SOCKET_MS;
      for (;;) {
        const qmp = existsSync(qmpSocket(spec.runDir)) ? await connectQmp(qmpSocket(spec.runDir)).catch(() => undefined) : undefined;
        if (qmp && process) return createVm(process, qmp, host);
        if (!process || !host.isAlive(process)) throw new Error(`QEMU ended at once: ${host.tail(output) || "it said nothing"}`);
        signal.throwIfAborted();
        if (Date.now() > deadline) throw new Error(`QEMU made no control socket within ${SOCKET_MS / 1000} s: ${host.tail(output)}`);
        await Bun.sleep(2);
      }
    },
    async attach(process, runDir) {
      if (!host.isAlive(process)) return undefined;
      const qmp = await connectQmp(qmpSocket(runDir)).catch(() => undefined);
      return qmp ? createVm(process, qmp, host) : undefined;
    },
    list: (runRoot) => host.findByArgument((a) => idOfSocket(runRoot, a)).map(({ id, match }) => ({ id: match, process: id })),
  };
}

function kvmGroup(spec: VmSpec): number | null {
  return spec.accelerator === "kvm" ? statSync("/dev/kvm").gid : null;
}

function createVm(process: ProcessId, qmp: Qmp, host: HostDoors): Vm {
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
    quit: async () => void (await qmp.execute("quit").catch(() => {})),
    onChange: (listener) => void listeners.add(listener),
    detach: () => qmp.close(),
  };
}
