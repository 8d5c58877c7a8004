/**
 * Lending a volume's file to machines' VMMs, each of which runs as a user of its own. The file lies in a folder that only
 * root may enter; a VMM gets a folder beside it with a hard link in it, which only that VMM may enter. So many may read
 * one volume, and what a VMM was not given it cannot reach.
 */
import { chmodSync, chownSync, closeSync, existsSync, linkSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { run } from "#agent/host/run.ts";

/** The path at which the machine's user can open the volume whose file is `path`. */
export function lend(path: string, machine: string, uid: number, readonly: boolean): string {
  const folder = folderFor(path, machine);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o500 });
  chownSync(folder, uid, uid);
  // Whoever reaches it through a folder of theirs may read it; one alone may write to it.
  chownSync(path, readonly ? 0 : uid, readonly ? 0 : uid);
  chmodSync(path, readonly ? 0o444 : 0o600);
  linkSync(path, lentPath(path, machine));
  return lentPath(path, machine);
}

/** Where a machine that has been lent it finds it. */
export function lentPath(path: string, machine: string): string {
  return `${folderFor(path, machine)}/disk.raw`;
}

export function takeBack(path: string, machine: string): void {
  rmSync(folderFor(path, machine), { recursive: true, force: true });
}

function folderFor(path: string, machine: string): string {
  return `${dirname(dirname(path))}/${machine}`;
}

/** In ext4's superblock, 1024 bytes into the disk: s_feature_incompat, and in it INCOMPAT_RECOVER (kernel, ext4.h). */
const FEATURES_AT = 1024 + 0x60;
const RECOVER = 0x4;
/** e2fsck(8): errors were corrected. */
const MENDED = / exit code 1$/;
const NOBODY = 65534;

/**
 * A volume that was not unmounted has a journal with something in it, which a machine that may only read cannot replay.
 * What a guest wrote is read by a process without rights.
 */
export async function replayJournal(path: string): Promise<void> {
  if (!needsReplay(path)) return;
  const mine = lend(path, "replay", NOBODY, false);
  try {
    await checkFileSystem(mine, NOBODY).catch((e: Error) => {
      if (needsReplay(path)) throw e;
    });
  } finally {
    takeBack(path, "replay");
  }
}

/** What a guest wrote is read as somebody without rights. */
export function asUser(uid: number, ...argv: string[]): Promise<string> {
  const drop = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"];
  return run([...drop, ...argv], { timeoutMs: 600_000 });
}

/** Replays its journal, and mends what can be mended without asking. */
export async function checkFileSystem(path: string, uid: number): Promise<void> {
  await asUser(uid, "e2fsck", "-p", path).catch((e: Error) => {
    if (!MENDED.test(e.message)) throw e;
  });
}

export function needsReplay(path: string): boolean {
  if (!existsSync(path)) return false;
  const features = Buffer.alloc(4);
  const fd = openSync(path, "r");
  readSync(fd, features, 0, 4, FEATURES_AT);
  closeSync(fd);
  return (features.readUInt32LE(0) & RECOVER) !== 0;
}
