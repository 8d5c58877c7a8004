/** Processes identified so that a reused pid is never taken for the one we started. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname } from "node:path";

/** startTime: clock ticks since boot, field 22 of /proc/PID/stat. */
export type ProcessId = { pid: number; startTime: number; bootId: string };

export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** undefined when there is no such process, or only its zombie. */
export function identify(pid: number): ProcessId | undefined {
  const stat = readStat(pid);
  return stat && stat.state !== "Z" ? { pid, startTime: stat.startTime, bootId: bootId() } : undefined;
}

export function isAlive(id: ProcessId): boolean {
  const stat = readStat(id.pid);
  return stat !== undefined && stat.state !== "Z" && stat.startTime === id.startTime && bootId() === id.bootId;
}

export function kill(id: ProcessId, signal: "SIGTERM" | "SIGKILL"): void {
  if (!isAlive(id)) return;
  try {
    process.kill(id.pid, signal);
  } catch {
    // It ended between the look and the signal.
  }
}

/** Kills it, and waits until it is gone. */
export async function end(id: ProcessId): Promise<void> {
  kill(id, "SIGKILL");
  for (let i = 0; i < 200 && isAlive(id); i++) await Bun.sleep(5);
}

/** Processes that work in a folder below this one, by its name; also after it was renamed. */
export function findByFolder(root: string): { id: ProcessId; folder: string }[] {
  const found: { id: ProcessId; folder: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const cwd = readlinkSync(`/proc/${name}/cwd`);
      const id = dirname(cwd) === root ? identify(Number(name)) : undefined;
      if (id) found.push({ id, folder: basename(cwd) });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

/** CPU time that it has used, milliseconds: fields 14 and 15 of /proc/PID/stat, in ticks of a hundredth of a second. */
export function cpuMs(id: ProcessId): number {
  return isAlive(id) ? (readStat(id.pid)?.cpuTicks ?? 0) * 10 : 0;
}

function readStat(pid: number): { state: string; startTime: number; cpuTicks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything, so count from the last one.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0]!, startTime: Number(fields[19]), cpuTicks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return undefined;
  }
}
