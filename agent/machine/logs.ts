/** A machine's two logs, console and workload. QEMU only appends, so what a guest can write is bounded here. */
import { chownSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";

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
      if (existsSync(path) && statSync(path).size > maxBytes) truncateSync(path, 0);
}

/** The last thing its console said, for a person. */
export function lastLine(logsDir: string, id: string): string {
  try {
    const text = readFileSync(`${logsDir}/${id}/console.log`, "utf8").slice(-4000);
    return (
      text
        .replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "")
        .split(/\r?\n/)
        .map((l) => l.trim())
        .filter(Boolean)
        .at(-1) ?? "nothing"
    );
  } catch {
    return "nothing";
  }
}

export function removeLogs(logsDir: string, id: string): void {
  rmSync(`${logsDir}/${id}`, { recursive: true, force: true });
}
