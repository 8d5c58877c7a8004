/**
 * The VMMs of a node, by the name of their runtime. QEMU is always there; another one is offered where its program is found
 * and a guest's kernel has run in it, which is found out by trying, once for each program and boot of the host.
 */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { z } from "zod";
import { HyperlaneError } from "#contract/errors.ts";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import { probeArgs, probeVmm } from "#agent/host/probe.ts";
import { bootId } from "#agent/host/process.ts";
import { which } from "#agent/host/run.ts";
import { createCloudHypervisor } from "#runtimes/cloud-hypervisor/driver.ts";
import { Machine as CloudHypervisor } from "#runtimes/cloud-hypervisor/machine.ts";
import type { Driver } from "#runtimes/driver.ts";
import { createFirecracker } from "#runtimes/firecracker/driver.ts";
import { Machine as Firecracker } from "#runtimes/firecracker/machine.ts";
import type { HostDoors } from "#runtimes/launch.ts";

type Kernel = { kernel: string; initramfs: string };
type Other = "firecracker" | "cloud-hypervisor";
/** Their programs; null: what the host's path has. */
export type VmmPrograms = Record<Other, string | null>;
export type Vmms = Awaited<ReturnType<typeof openVmms>>;
type Deps = { dir: string; kernel: Kernel; qemu: Driver; host: HostDoors; relay: string; programs: VmmPrograms };

const MAKE = { firecracker: createFirecracker, "cloud-hypervisor": createCloudHypervisor };
const PROBE_MIB = 256;

export async function openVmms({ dir, kernel, qemu, host, relay, programs }: Deps) {
  const drivers = new Map<string, Driver>([[qemu.name, qemu]]);
  /** Those that are there and of no use, with the reason. */
  const lacking: { runtime: string; reason: string }[] = [];
  await Promise.all(
    (Object.keys(MAKE) as Other[]).map(async (name) => {
      const binary = programs[name] ?? which(name);
      if (binary === null) return;
      drivers.set(name, MAKE[name](host, { binary, relay }));
      const reason = await whyNot(dir, name, binary, kernel);
      if (reason !== null) lacking.push({ runtime: name, reason });
    }),
  );
  return {
    lacking,
    offered: (): string[] => [...drivers.keys()].filter((name) => !lacking.some((l) => l.runtime === name)),
    all: (): Driver[] => [...drivers.values()],
    /** Also of one that is no longer offered: its machines may still run. */
    get: (name: string): Driver => drivers.get(name) ?? gone(name),
  };
}

/** Probing boots a kernel, so what it found is kept until something of it changes. */
async function whyNot(dir: string, name: Other, binary: string, kernel: Kernel): Promise<string | null> {
  if (!existsSync(binary)) return `there is no ${binary}`;
  const path = `${dir}/probed-${name}.json`;
  const { size, mtimeMs } = statSync(binary);
  const key = `${bootId()} ${binary} ${size} ${mtimeMs} ${statSync(kernel.kernel).size}`;
  const kept = z.object({ key: z.string(), reason: z.string().nullable() }).safeParse(existsSync(path) ? readJson(path) : undefined);
  if (kept.success && kept.data.key === key) return kept.data.reason;
  const reason = await probe(name, binary, kernel);
  writeFileDurably(path, JSON.stringify({ key, reason }));
  return reason;
}

async function probe(name: Other, binary: string, { kernel, initramfs }: Kernel): Promise<string | null> {
  const dir = mkdtempSync(`${tmpdir()}/hyperlane-probe-`);
  const [socketPath, console] = [`${dir}/api.sock`, `${dir}/console`];
  try {
    if (name === "firecracker") {
      const boots = { kernelImagePath: kernel, initrdPath: initramfs, kernelArgs: probeArgs(), memSizeMib: PROBE_MIB };
      return await probeVmm(new Firecracker({ ...boots, binary, socketPath, logPath: console }), console);
    }
    const boots = { payload: { kernel, initramfs, cmdline: probeArgs() }, memory: { size: PROBE_MIB * 2 ** 20 } };
    const talks = { serial: { mode: "File" as const, file: console }, console: { mode: "Off" as const } };
    return await probeVmm(new CloudHypervisor({ ...boots, ...talks, binary, socketPath }), console);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A machine may outlive what it ran on. */
function gone(name: string): Driver {
  const refuse = (): never => {
    throw new HyperlaneError("UNSUPPORTED", `This node has no ${name} any more.`, {
      hint: `Install it again, or name it: hyperlane init --${name} PROGRAM`,
    });
  };
  return {
    name,
    savesWhole: false,
    guest: (runDir) => ({ path: `${runDir}/gone` }),
    version: async () => refuse(),
    start: async () => refuse(),
    attach: async () => undefined,
    list: async () => [],
    forget: async () => {},
  };
}
