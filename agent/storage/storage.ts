/**
 * Disks: one raw ext4 file each, in a directory of its own; the writable layer of a machine (m-...), or a volume (v-...),
 * which nobody but us may open until it is lent (lend.ts). Where the directory lives decides how a snapshot is taken: a ZFS dataset per machine (zfs.ts), else a copy of the file that
 * shares its blocks (reflink) or at least its holes (sparse). Nothing is copied when a machine is made.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  statfsSync,
  closeSync,
  openSync,
} from "node:fs";
import { dirname } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import { restoreDisk, saveDisk } from "#agent/host/memory.ts";
import { run } from "#agent/host/run.ts";
import { openZfs } from "./zfs.ts";

export type Storage = {
  kind: "zfs" | "reflink" | "sparse";
  has(id: string): boolean;
  /** Makes the disk unless it is there; its path, which this user may open. content: a page file (agent/host/pages.ts); null: an empty file system. */
  createDisk(id: string, mib: number, uid: number, content?: string | null): Promise<string>;
  /** As createDisk; what it holds is a copy of another's snapshot. */
  cloneDisk(id: string, from: { id: string; snapshot: string }, uid: number): Promise<string>;
  /** As createDisk; what it holds is a copy of a file of the host's, no larger than that. */
  importDisk(id: string, from: string, mib: number, uid: number): Promise<string>;
  diskPath(id: string): string;
  /** Bytes that the snapshot holds. */
  snapshot(id: string, snapshot: string): Promise<number>;
  restore(id: string, snapshot: string, uid: number): Promise<void>;
  /** Nothing of it is written where it is as large already. */
  grow(id: string, mib: number): void;
  removeSnapshot(id: string, snapshot: string): Promise<void>;
  /** Moves or copies a snapshot's disk to a file of its own. */
  exportSnapshot(id: string, snapshot: string, to: string): Promise<void>;
  remove(id: string): Promise<void>;
  list(): string[];
  /** Total and free, MiB. */
  space(): { diskMib: number; diskFreeMib: number };
};

/** Kept free on the node, so that a growing disk never stops the host. */
const RESERVE_MIB = 512;

/** pool: a ZFS dataset to make machines' datasets in, or null for plain files below `dir`. */
export async function openStorage(dir: string, pool: string | null): Promise<Storage> {
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  rmSync(`${dir}/.empty`, { recursive: true, force: true });
  if (pool !== null) return await openZfs(dir, pool);
  const reflink = await probeReflink(dir);
  return fileStorage(dir, reflink ? "reflink" : "sparse");
}

/** Found by trying: whether a copy here can share the blocks of what it is copied from. */
async function probeReflink(dir: string): Promise<boolean> {
  const [from, to] = [`${dir}/.reflink`, `${dir}/.reflink2`];
  await Bun.write(from, "x".repeat(8192));
  const works = await run(["cp", "--reflink=always", from, to]).then(
    () => true,
    () => false,
  );
  for (const path of [from, to]) rmSync(path, { force: true });
  return works;
}

/** A volume's file lies where nobody else may look. */
export function fileOf(home: string, id: string): string {
  return isVolume(id) ? `${home}/kept/disk.raw` : `${home}/disk.raw`;
}

export function isVolume(id: string): boolean {
  return id.startsWith("v-");
}

export async function format(path: string, id: string, mib: number, uid: number): Promise<void> {
  const next = `${path}.new`;
  mkdirSync(dirname(path), { recursive: true, mode: isVolume(id) ? 0o700 : 0o711 });
  closeSync(openSync(next, "w", 0o600));
  truncateSync(next, mib * 2 ** 20);
  const how = ["-m", "0", "-b", "4096", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-O", "^resize_inode"];
  await run(["mkfs.ext4", "-q", "-F", ...how, next]);
  // Databases want their directory to be empty.
  if (isVolume(id)) await run(["debugfs", "-w", "-R", "rmdir lost+found", next]);
  chownSync(next, uid, uid);
  renameSync(next, path);
}

/** A disk with this content; else an empty one: of each size one is kept in `dir`, for the next is then there at once. */
export async function fill(dir: string, path: string, id: string, mib: number, uid: number, content: string | null): Promise<void> {
  const empty = `${dir}/.empty/${isVolume(id) ? "volume" : "machine"}-${mib}`;
  if (content === null && !existsSync(empty)) {
    const work = `${empty}-${crypto.randomUUID()}`;
    try {
      await format(`${work}/${id}`, id, mib, 0);
      await saveDisk(`${work}/${id}`, `${work}/pages`);
      renameSync(`${work}/pages`, empty);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  mkdirSync(dirname(path), { recursive: true, mode: isVolume(id) ? 0o700 : 0o711 });
  await restoreDisk(content ?? empty, `${path}.new`, mib * 2 ** 20).catch((thrown) => {
    rmSync(empty, { force: true });
    throw thrown;
  });
  chownSync(`${path}.new`, uid, uid);
  renameSync(`${path}.new`, path);
}

/** A file of the host's as a machine's disk: whole, or not there. */
export async function copyDisk(from: string, to: string, mib: number, uid: number): Promise<void> {
  await run(["cp", "--reflink=auto", "--sparse=always", from, `${to}.new`], { timeoutMs: 600_000 });
  chmodSync(`${to}.new`, 0o600);
  growFile(`${to}.new`, mib);
  chownSync(`${to}.new`, uid, uid);
  renameSync(`${to}.new`, to);
}

export function growFile(path: string, mib: number): void {
  if (statSync(path).size < mib * 2 ** 20) truncateSync(path, mib * 2 ** 20);
}

function checkSpace(dir: string, needMib: number, what: string): void {
  const { diskFreeMib } = space(dir);
  if (diskFreeMib < needMib + RESERVE_MIB)
    throw new HyperlaneError(
      "NO_SPACE",
      `${what} needs ${formatMib(needMib)}, and the node has ${formatMib(Math.max(1, diskFreeMib))} free, of which ${formatMib(RESERVE_MIB)} stay free.`,
    );
}

export function space(dir: string): { diskMib: number; diskFreeMib: number } {
  const s = statfsSync(dir);
  return { diskMib: Math.floor((s.blocks * s.bsize) / 2 ** 20), diskFreeMib: Math.floor((s.bavail * s.bsize) / 2 ** 20) };
}

function fileStorage(dir: string, kind: "reflink" | "sparse"): Storage {
  const diskPath = (id: string): string => fileOf(`${dir}/${id}`, id);
  const snapshotPath = (id: string, snapshot: string): string => `${dirname(diskPath(id))}/${snapshot}.snapshot`;
  const copy = async (from: string, to: string): Promise<void> => {
    const usedMib = Math.ceil((statSync(from).blocks * 512) / 2 ** 20);
    if (kind === "sparse") checkSpace(dir, usedMib, "The copy");
    // auto, since an exported disk may go to another file system.
    const how = kind === "reflink" ? "--reflink=auto" : "--sparse=always";
    await run(["cp", how, "--preserve=mode,ownership", from, `${to}.new`], { timeoutMs: 600_000 });
    await run(["sync", "--", `${to}.new`]);
    renameSync(`${to}.new`, to);
  };
  return {
    kind,
    diskPath,
    has: (id) => existsSync(diskPath(id)),
    async createDisk(id, mib, uid, content = null) {
      if (existsSync(diskPath(id))) chownSync(diskPath(id), uid, uid);
      else {
        checkSpace(dir, Math.min(mib, 256), isVolume(id) ? "A new volume" : "A new machine");
        mkdirSync(`${dir}/${id}`, { recursive: true, mode: 0o711 });
        await fill(dir, diskPath(id), id, mib, uid, content);
      }
      return diskPath(id);
    },
    async cloneDisk(id, from, uid) {
      mkdirSync(`${dir}/${id}`, { recursive: true, mode: 0o711 });
      if (!existsSync(diskPath(id))) await copy(snapshotPath(from.id, from.snapshot), diskPath(id));
      chownSync(diskPath(id), uid, uid);
      return diskPath(id);
    },
    async importDisk(id, from, mib, uid) {
      checkSpace(dir, Math.ceil((statSync(from).blocks * 512) / 2 ** 20), "The copy of its disk");
      mkdirSync(`${dir}/${id}`, { recursive: true, mode: 0o711 });
      await copyDisk(from, diskPath(id), mib, uid);
      return diskPath(id);
    },
    async snapshot(id, snapshot) {
      if (!existsSync(snapshotPath(id, snapshot))) await copy(diskPath(id), snapshotPath(id, snapshot));
      return statSync(snapshotPath(id, snapshot)).blocks * 512;
    },
    async restore(id, snapshot, uid) {
      await copy(snapshotPath(id, snapshot), diskPath(id));
      chownSync(diskPath(id), uid, uid);
    },
    grow: (id, mib) => growFile(diskPath(id), mib),
    async removeSnapshot(id, snapshot) {
      rmSync(snapshotPath(id, snapshot), { force: true });
      rmSync(`${snapshotPath(id, snapshot)}.new`, { force: true });
    },
    exportSnapshot: (id, snapshot, to) => copy(snapshotPath(id, snapshot), to),
    async remove(id) {
      rmSync(`${dir}/${id}`, { recursive: true, force: true });
    },
    list: () => readdirSync(dir).filter((n) => n.startsWith("m-")),
    space: () => space(dir),
  };
}
