/** What all machines of a node stand on: its runtime, the guest's kernel, and what runs them, found by trying. */
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError } from "#contract/errors.ts";
import { enterCgroup } from "#agent/host/cgroup.ts";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import { restoreMemory, saveDisk, saveMemory } from "#agent/host/memory.ts";
import { cpuModel, probeAccelerator, tscKhz, type Accelerator } from "#agent/host/probe.ts";
import { bootId, end, findByFolder, identify, isAlive } from "#agent/host/process.ts";
import { run, spawnDetached } from "#agent/host/run.ts";
import { PLACES } from "#agent/machine/mounts.ts";
import type { Ground } from "#agent/templates/shape.ts";
import { createQemu } from "#runtimes/qemu/driver.ts";
import type { Driver } from "#runtimes/driver.ts";
import type { HostDoors } from "#runtimes/launch.ts";
import { openVmms, type VmmPrograms } from "./vmms.ts";

type Kernel = { kernel: string; initramfs: string };

/** dir: where what was found out is kept. guestDir: has vmlinux and initramfs. programs: of other VMMs; null: whatever the host has. */
export async function openGround(dir: string, node: string, guestDir: string, programs: VmmPrograms) {
  const kernel = guestKernel(guestDir);
  const runtime = openRuntime(node, guestDir);
  const [found, vmms] = await Promise.all([
    accelerate(dir, kernel),
    openVmms({ dir, kernel, qemu: runtime, host: hostDoors(node), relay: `${guestDir}/relay`, programs }),
  ]);
  const ground = await groundOf(runtime, kernel, found.accelerator);
  return { node, kernel, runtime, vmms, found, ground, accelerator: found.accelerator, tscKhz: ground.tscKhz };
}

function guestKernel(dir: string): Kernel {
  const files = { kernel: `${dir}/vmlinux`, initramfs: `${dir}/initramfs` };
  for (const file of [...Object.values(files), discards(dir)])
    if (!existsSync(file))
      throw new HyperlaneError("NOT_FOUND", `The guest kernel's "${file}" is missing.`, {
        hint: "Run ./quickstart, or `scripts/main.ts guest`.",
      });
  return files;
}

/** What all of this node's templates are made of. */
async function groundOf(runtime: Driver, kernel: Kernel, accelerator: "kvm" | "tcg"): Promise<Ground> {
  const digest = new Bun.CryptoHasher("sha256");
  for (const file of Object.values(kernel)) digest.update(await Bun.file(file).bytes());
  return {
    format: 2,
    runtime: runtime.name,
    runtimeVersion: await runtime.version(),
    kernel: digest.digest("hex"),
    accelerator,
    cpuModel: accelerator === "kvm" ? cpuModel() : "max",
    tscKhz: tscKhz(),
    places: PLACES,
  };
}

/** What QEMU is loaded with (runtimes/qemu/discard.c). */
function discards(guestDir: string): string {
  return `${guestDir}/discard.so`;
}

/** QEMU, with this host's doors. */
export function openRuntime(node: string, guestDir: string): Driver {
  return createQemu({ ...hostDoors(node), discards: discards(guestDir), saveMemory, restoreMemory });
}

export function hostDoors(node: string): HostDoors {
  return {
    spawn: (argv, { output, ...how }) => spawnDetached(argv, output, how),
    run,
    identify,
    isAlive,
    kill: end,
    findByFolder,
    confine: (id, pid, limits) => enterCgroup(`${node}.${id}`, pid, limits),
    tail: (path) => (existsSync(path) ? readFileSync(path, "utf8").trim().split("\n").slice(-3).join("; ") : ""),
    packMemory: saveDisk,
  };
}

/** Probing boots a kernel, so what it found is kept until the kernel of host or guest changes. */
async function accelerate(dir: string, kernel: Kernel): Promise<Accelerator> {
  const Kept = z.object({ key: z.string(), accelerator: z.enum(["kvm", "tcg"]), reason: z.string() });
  const key = `${bootId()} ${Bun.file(kernel.kernel).size} ${existsSync("/dev/kvm")}`;
  const kept = Kept.safeParse(readJson(`${dir}/accelerator.json`));
  if (kept.success && kept.data.key === key) return kept.data;
  const found = await probeAccelerator(kernel);
  writeFileDurably(`${dir}/accelerator.json`, JSON.stringify({ key, ...found }));
  return found;
}
