/** What init says of a machine's processes; the records are guest/frames.h's, their texts those of proc(5). */
import type { MachineProcess } from "#contract/resources/machine.ts";

/** The kernel's, on x86-64: clock ticks a second, bytes a page. */
const TICKS = 100;
const PAGE = 4096;

export function decodeProcesses(bytes: Buffer): MachineProcess[] {
  const found: MachineProcess[] = [];
  for (let at = 0; at + 12 <= bytes.length; at += 4 + bytes.readUInt32LE(at)) {
    const record = bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at));
    if (record.length < 8) break;
    const size = record.readUInt32LE(4);
    const stat = record.toString("utf8", 8, 8 + size);
    const argv = record
      .toString("utf8", 8 + size)
      .split("\0")
      .filter(Boolean);
    // The name in parentheses may hold anything, so count from the last one.
    const [open, close] = [stat.indexOf("("), stat.lastIndexOf(")")];
    const fields = stat.slice(close + 2).split(" ");
    if (open < 0 || close < open || fields.length < 22) continue;
    const number = (field: number): number => Number(fields[field - 3]);
    found.push({
      pid: Number(stat.slice(0, open)),
      parent: number(4),
      user: record.readUInt32LE(0),
      state: fields[0]!,
      cpuMs: ((number(14) + number(15)) * 1000) / TICKS,
      memoryMib: Math.round((number(24) * PAGE) / 2 ** 20),
      name: stat.slice(open + 1, close),
      argv,
    });
  }
  return found.sort((a, b) => a.pid - b.pid);
}
