/**
 * A guest's RAM, seen from outside its VMM, which must stand still meanwhile: written to a page file (pages.ts), put
 * back, and shared. What many machines go on from is one sealed memory, which each of them maps copy-on-write: the
 * kernel lets nobody write to it, a VMM that was broken out of included.
 */
import { closeSync, ftruncateSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { HyperlaneError } from "#contract/errors.ts";
import { createMemory, dataRanges, seal } from "./libc.ts";
import { PAGE, pagesIn, readPages, writePages, type ByteRange } from "./pages.ts";
import type { ProcessId } from "./process.ts";

/** The name that a mapping of shared memory goes by in /proc/PID/maps. */
const SHARED = "hyperlane-memory";
/** pagemap(5): bit 63 present, 62 swapped, 61 of a file or shared; here of the upper half of an entry. */
const THERE = 0xc0000000;
const OF_FILE = 0x20000000;

/**
 * All pages, or, where it shares a memory, those that differ from that. whole: the page file of that memory, for all of
 * them all the same. bytes: the guest's RAM. How many bytes the file has.
 */
export async function saveMemory(process: ProcessId, bytes: number, path: string, whole: string | null): Promise<number> {
  const { address, shared } = findMemory(process.pid, bytes);
  const [memory, pagemap] = [await open(`/proc/${process.pid}/mem`, "r"), await open(`/proc/${process.pid}/pagemap`, "r")];
  try {
    const map = Buffer.alloc((bytes / PAGE) * 8);
    await pagemap.read(map, 0, map.length, (address / PAGE) * 8);
    const read = async (to: Buffer, offset: number): Promise<void> => void (await memory.read(to, 0, to.length, address + offset));
    const others = shared && whole !== null ? await pagesIn(whole) : [];
    return await writePages(path, ownRanges(map, others), read, shared && whole === null);
  } finally {
    await memory.close();
    await pagemap.close();
  }
}

/** others: pages that are wanted as well. */
function* ownRanges(map: Buffer, others: ByteRange[]): Generator<ByteRange> {
  const pages = map.length / 8;
  const wanted = new Uint8Array(pages + 1);
  const words = new Uint32Array(map.buffer, map.byteOffset, map.length / 4);
  for (let page = 0; page < pages; page++) {
    const entry = words[page * 2 + 1]!;
    if ((entry & THERE) !== 0 && (entry & OF_FILE) === 0) wanted[page] = 1;
  }
  for (const [from, to] of others) wanted.fill(1, from / PAGE, to / PAGE);
  for (let from = wanted.indexOf(1), to; from >= 0; from = wanted.indexOf(1, to)) {
    to = wanted.indexOf(0, from);
    yield [from * PAGE, to * PAGE];
  }
}

/** Lays saved pages over what the process has there. */
export async function restoreMemory(process: ProcessId, bytes: number, path: string): Promise<void> {
  const { address } = findMemory(process.pid, bytes);
  const memory = await open(`/proc/${process.pid}/mem`, "r+");
  try {
    await readPages(path, async (page, offset) => void (await memory.write(page, 0, page.length, address + offset)));
  } finally {
    await memory.close();
  }
}

/** Saved pages as a sealed memory of so many bytes; its descriptor. */
export async function shareMemory(path: string, bytes: number): Promise<number> {
  const fd = createMemory(SHARED);
  const memory = await open(`/proc/self/fd/${fd}`, "r+");
  try {
    ftruncateSync(fd, bytes);
    await readPages(path, async (page, offset) => void (await memory.write(page, 0, page.length, offset)));
    await memory.close();
    seal(fd);
    return fd;
  } catch (thrown) {
    await memory.close();
    closeSync(fd);
    throw thrown;
  }
}

/** A sparse disk as a page file. */
export async function saveDisk(disk: string, path: string): Promise<number> {
  const file = await open(disk, "r");
  try {
    const { size } = await file.stat();
    return await writePages(path, dataRanges(file.fd, size), async (to, offset) => {
      to.fill(0);
      await file.read(to, 0, to.length, offset);
    });
  } finally {
    await file.close();
  }
}

/** Makes a sparse disk of so many bytes from a page file. */
export async function restoreDisk(path: string, disk: string, bytes: number): Promise<void> {
  const file = await open(disk, "w", 0o600);
  try {
    await file.truncate(bytes);
    await readPages(path, async (page, offset) => void (await file.write(page, 0, page.length, offset)));
  } finally {
    await file.close();
  }
}

/** The guest's RAM is the one mapping of exactly its size, shared or of its own. */
function findMemory(pid: number, bytes: number): { address: number; shared: boolean } {
  const found = readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, from = "", to = "", name = ""] = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ \S+ *(.*)$/.exec(line) ?? [];
      const shared = name.startsWith(`/memfd:${SHARED}`);
      const exact = parseInt(to, 16) - parseInt(from, 16) === bytes;
      return exact && (shared || name === "") ? [{ address: parseInt(from, 16), shared }] : [];
    });
  if (found.length !== 1) throw new HyperlaneError("UNSUPPORTED", "The machine's RAM is not to be found in its VMM.");
  return found[0]!;
}
