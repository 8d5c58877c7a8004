/**
 * A control group per machine, named NODE.MACHINE, so that two agents on a host never meet: limits, and the sure way to find every process of it.
 * cgroup v2 where its controllers are; the v1 hierarchies of hybrid hosts otherwise; nothing where neither is.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";

const ROOT = "/sys/fs/cgroup";
const PARENT = "hyperlane";
/** What the VMM itself needs beside the guest's RAM: mostly the emulation's translation cache. */
const VMM_MIB = 384;
const PIDS_MAX = 512;

export type CgroupLimits = { cpu: number; memoryMib: number };

export function cgroupKind(): "v2" | "v1" | "none" {
  if (existsSync(`${ROOT}/cgroup.controllers`)) return "v2";
  return existsSync(`${ROOT}/memory/cgroup.procs`) ? "v1" : "none";
}

/** Moving a process takes the kernel milliseconds, in which nobody else need wait. */
export async function enterCgroup(id: string, pid: number, limits: CgroupLimits): Promise<void> {
  const memory = (limits.memoryMib + VMM_MIB) * 2 ** 20;
  const quota = limits.cpu * 100_000;
  const kind = cgroupKind();
  if (kind === "v2") {
    const parent = `${ROOT}/${PARENT}`;
    mkdirSync(`${parent}/${id}`, { recursive: true });
    for (const dir of [ROOT, parent]) attempt(() => writeFileSync(`${dir}/cgroup.subtree_control`, "+cpu +memory +pids"));
    const dir = `${parent}/${id}`;
    attempt(() => writeFileSync(`${dir}/memory.max`, String(memory)));
    attempt(() => writeFileSync(`${dir}/pids.max`, String(PIDS_MAX)));
    // One CPU more than asked for: the VMM's own threads must not slow the guest's.
    attempt(() => writeFileSync(`${dir}/cpu.max`, `${quota + 100_000} 100000`));
    await writeFile(`${dir}/cgroup.procs`, String(pid));
  } else if (kind === "v1") {
    const v1 = {
      memory: { "memory.limit_in_bytes": memory },
      pids: { "pids.max": PIDS_MAX },
      cpu: { "cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": quota + 100_000 },
    };
    for (const [controller, files] of Object.entries(v1)) {
      const dir = `${ROOT}/${controller}/${PARENT}/${id}`;
      if (!existsSync(`${ROOT}/${controller}`)) continue;
      mkdirSync(dir, { recursive: true });
      for (const [file, value] of Object.entries(files)) attempt(() => writeFileSync(`${dir}/${file}`, String(value)));
      await writeFile(`${dir}/cgroup.procs`, String(pid));
    }
  }
}

/** Removes the groups of this id. One whose last process has only just ended is busy for a moment. */
export async function removeCgroup(id: string): Promise<void> {
  for (let i = 0; i < 50; i++) {
    const left = directories(id).filter(existsSync);
    for (const dir of left) attempt(() => rmdirSync(dir));
    if (!left.some(existsSync)) return;
    await Bun.sleep(10);
  }
}

/** What follows `prefix` in the names of groups that begin with it, so that what nobody remembers is still found. */
export function listCgroups(prefix: string): string[] {
  const found = new Set<string>();
  for (const dir of directories(""))
    if (existsSync(dir))
      for (const e of readdirSync(dir, { withFileTypes: true }))
        if (e.isDirectory() && e.name.startsWith(prefix)) found.add(e.name.slice(prefix.length));
  return [...found];
}

export function cgroupPids(id: string): number[] {
  const dir = directories(id).find((d) => existsSync(`${d}/cgroup.procs`));
  return dir === undefined ? [] : readFileSync(`${dir}/cgroup.procs`, "utf8").split("\n").filter(Boolean).map(Number);
}

function directories(id: string): string[] {
  const controllers = cgroupKind() === "v2" ? [""] : ["memory/", "pids/", "cpu/"];
  return controllers.map((c) => `${ROOT}/${c}${PARENT}/${id}`.replace(/\/$/, ""));
}

function attempt(write: () => void): void {
  try {
    write();
  } catch {
    // A controller that this host lacks: `vps doctor` names it; the machine runs without that limit.
  }
}
