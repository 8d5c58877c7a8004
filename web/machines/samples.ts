/** What a machine used, from what it counts. Pure. */
import type { Output } from "#contract/schemas.ts";

export type Stats = Output<"machineStats">;
/** at: Unix seconds. cpu: cores in use. memory, disk: MiB in use. in, out: bytes a second. */
export type Sample = { at: number; cpu: number; memory: number; disk: number; in: number; out: number };

/** Between two looks; null where it was started anew in between, and counts from nothing again. */
export function sampleOf(before: { at: number; stats: Stats }, now: { at: number; stats: Stats }): Sample | null {
  const [a, b] = [before.stats, now.stats];
  const seconds = now.at - before.at;
  if (seconds <= 0 || b.cpuMs < a.cpuMs || b.networkInBytes < a.networkInBytes || b.networkOutBytes < a.networkOutBytes) return null;
  return {
    at: now.at,
    cpu: (b.cpuMs - a.cpuMs) / 1000 / seconds,
    memory: b.memoryMib - b.memoryFreeMib,
    disk: b.diskMib - b.diskFreeMib,
    in: (b.networkInBytes - a.networkInBytes) / seconds,
    out: (b.networkOutBytes - a.networkOutBytes) / seconds,
  };
}
