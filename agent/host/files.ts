/** Files that are whole or not there, whatever happens in between. */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";

export function writeFileDurably(path: string, content: string, mode = 0o600): void {
  writeFileWhole(path, content, mode, true);
}

/** durable: also where the host loses its power. */
export function writeFileWhole(path: string, content: string, mode: number, durable: boolean): void {
  const next = `${path}.new`;
  const fd = openSync(next, "w", mode);
  try {
    writeSync(fd, content);
    if (durable) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(next, path);
  if (!durable) return;
  const dir = openSync(dirname(path), "r");
  try {
    fsyncSync(dir);
  } finally {
    closeSync(dir);
  }
}

/** A folder that appears, in another's place, once `fill` has filled it; or not at all. */
export async function makeFolder<T>(path: string, mode: number, fill: (next: string) => Promise<T>): Promise<T> {
  const next = `${path}.new`;
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { recursive: true, mode });
  try {
    const filled = await fill(next);
    rmSync(path, { recursive: true, force: true });
    renameSync(next, path);
    return filled;
  } finally {
    rmSync(next, { recursive: true, force: true });
  }
}

/** What a folder's files take on the disk. */
export function bytesIn(dir: string): number {
  return readdirSync(dir).reduce((sum, name) => sum + statSync(`${dir}/${name}`).blocks * 512, 0);
}

/** undefined when there is no such file. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** undefined also when it is there and cannot be read. */
export function readOrNothing(path: string): unknown {
  try {
    return readJson(path);
  } catch {
    return undefined;
  }
}
