/** A machine's two logs, console and workload. QEMU only appends, so what a guest can write is bounded here. */
import {
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { exitOf, type WorkloadExit } from "./output.ts";

/** Makes them, for the VMM's user to append to. */
export function prepareLogs(logsDir: string, id: string, uid: number): { consoleLog: string; workloadLog: string } {
  mkdirSync(`${logsDir}/${id}`, { recursive: true, mode: 0o711 });
  const [consoleLog, workloadLog] = [`${logsDir}/${id}/console.log`, `${logsDir}/${id}/workload.log`];
  for (const path of [consoleLog, workloadLog]) {
    closeSync(openSync(path, "a", 0o640));
    chownSync(path, uid, uid);
  }
  return { consoleLog, workloadLog };
}

/** A flooding guest loses its output, not the host its disk. */
export function trimLogs(logsDir: string, maxBytes: number): void {
  if (!existsSync(logsDir)) return;
  for (const id of readdirSync(logsDir))
    for (const path of [`${logsDir}/${id}/console.log`, `${logsDir}/${id}/workload.log`])
      if (existsSync(path) && statSync(path).size > maxBytes) rotate(path);
}

/** What there was goes to PATH.1, in place of what was there; the writer goes on at the start of the file. */
function rotate(path: string): void {
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
}

type Source = "console" | "workload";

/** What a log holds since `from`, but no more than its last `most` bytes. One that is shorter than it was has been rotated. */
function readSince(logsDir: string, id: string, source: Source, from: number, most: number): string {
  const path = `${logsDir}/${id}/${source}.log`;
  if (!existsSync(path)) return "";
  const { size } = statSync(path);
  const start = Math.max(size < from ? 0 : from, size - most);
  const bytes = Buffer.alloc(size - start);
  const fd = openSync(path, "r");
  try {
    readSync(fd, bytes, 0, bytes.length, start);
  } finally {
    closeSync(fd);
  }
  return bytes.toString("latin1");
}

/** How the workload of the start whose output begins at `from` has ended; undefined: it has not. */
export function readExit(logsDir: string, id: string, from: number): WorkloadExit | undefined {
  return exitOf(readSince(logsDir, id, "workload", from, 200));
}

/** What the kernel said as it gave up, after `from`; undefined: it has not. */
export function readPanic(logsDir: string, id: string, from: number): string | undefined {
  return /Kernel panic - not syncing: ([^\r\n]*)/.exec(readSince(logsDir, id, "console", from, 8000))?.[1];
}

/** Whether the kernel has ended a process for want of memory, after `from`. */
export function ranOutOfMemory(logsDir: string, id: string, from: number): boolean {
  return readSince(logsDir, id, "console", from, 64_000).includes("Out of memory: Killed process");
}

export function logSizes(logsDir: string, id: string): Record<Source, number> {
  const size = (source: Source): number => {
    const path = `${logsDir}/${id}/${source}.log`;
    return existsSync(path) ? statSync(path).size : 0;
  };
  return { console: size("console"), workload: size("workload") };
}

/** The last thing its console said, for a person. */
export function lastLine(logsDir: string, id: string): string {
  return (
    readSince(logsDir, id, "console", 0, 4000)
      .replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "")
      .split(/\r?\n/)
      .map((l) => l.trim())
      .filter(Boolean)
      .at(-1) ?? "nothing"
  );
}

export function removeLogs(logsDir: string, id: string): void {
  rmSync(`${logsDir}/${id}`, { recursive: true, force: true });
}
