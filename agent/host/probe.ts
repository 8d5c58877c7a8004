/** What this host offers, found by trying. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import type { Runtime } from "#runtimes/runtime.ts";
import { spawnDetached } from "./run.ts";

export type Accelerator = { accelerator: "kvm" | "tcg"; reason: string };
/** With KVM the answer comes within one. */
const PROBE_MS = 4_000;
/** Found out once for each program; a host that is busy is not a VMM that is of no use. */
const VMM_MS = 20_000;
/** What a kernel says that has come up. */
const BOOTED = "Run /init as init process";

/**
 * Boots the guest kernel with KVM, until it runs our init. A /dev/kvm that opens
 * is no proof, since a nested one can run firmware and still stop at the first protected-mode kernel.
 */
export async function probeAccelerator(kernel: { kernel: string; initramfs: string }): Promise<Accelerator> {
  if (!existsSync("/dev/kvm"))
    return { accelerator: "tcg", reason: "there is no /dev/kvm: the CPU's virtualization is off, or this host is itself a VM without it" };
  const dir = mkdtempSync(`${tmpdir()}/hyperlane-probe-`);
  const output = `${dir}/console`;
  const argv = [
    "qemu-system-x86_64",
    "-M",
    "microvm,accel=kvm,acpi=on,pic=off,pit=off,pcie=off,isa-serial=on",
    "-cpu",
    "host",
    "-m",
    "256M",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-kernel",
    kernel.kernel,
    "-initrd",
    kernel.initramfs,
    "-append",
    probeArgs(),
    "-serial",
    "stdio",
  ];
  try {
    const pid = spawnDetached(argv, output);
    const deadline = Date.now() + PROBE_MS;
    let text = "";
    while (Date.now() < deadline) {
      text = readFileSync(output, "utf8");
      if (text.includes(BOOTED)) break;
      if (/KVM internal error|failed to initialize kvm|Could not access KVM/i.test(text)) break;
      await Bun.sleep(20);
    }
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
    if (text.includes(BOOTED)) return { accelerator: "kvm", reason: "a guest kernel ran on it" };
    const why = /(KVM internal error[^\n]*|[^\n]*(?:Could not access KVM|failed to initialize kvm)[^\n]*)/i.exec(text)?.[1];
    return {
      accelerator: "tcg",
      reason: `/dev/kvm is there, but a guest kernel does not run on it: ${why ?? `nothing within ${PROBE_MS / 1000} s`}`,
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * Boots the guest kernel in another VMM, until it runs our init. machine: made to write what its kernel says to `console`. Why
 * it does not; null: it does.
 */
export async function probeVmm(machine: Pick<Runtime, "start" | "stop" | "isRunning">, console: string): Promise<string | null> {
  const said = (): string => (existsSync(console) ? readFileSync(console, "utf8") : "");
  try {
    await machine.start();
    for (const deadline = Date.now() + VMM_MS; Date.now() < deadline && machine.isRunning(); await Bun.sleep(20))
      if (said().includes(BOOTED)) return null;
    return machine.isRunning() ? `a guest kernel says nothing within ${VMM_MS / 1000} s` : "it ended before a guest kernel ran";
  } catch (thrown) {
    return (thrown as Error).message;
  } finally {
    await machine.stop();
  }
}

/** What a kernel is told that is only to show that it runs. */
export function probeArgs(): string {
  return `console=ttyS0 panic=-1${tscKhz() ? ` tsc_early_khz=${tscKhz()}` : ""}`;
}

/** The time-stamp counter's frequency as the host counts it, for guests that cannot calibrate their own. */
export function tscKhz(): number {
  const mhz = /cpu MHz\s*:\s*([\d.]+)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return mhz === undefined ? 0 : Math.round(Number(mhz) * 1000);
}

/** With all that it can do: a guest that has seen one CPU cannot go on on a lesser. */
export function cpuModel(): string {
  const text = readFileSync("/proc/cpuinfo", "utf8").split("\n\n")[0]!;
  return ["model name", "microcode", "flags"].map((field) => new RegExp(`^${field}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "").join("\n");
}

export function hostSize(): { cpu: number; memoryMib: number } {
  const total = /MemTotal:\s*(\d+) kB/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  // What the host needs for itself stays out of what is offered.
  return { cpu: cpus().length, memoryMib: Math.max(0, Math.floor(Number(total) / 1024) - 512) };
}
