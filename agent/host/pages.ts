/**
 * A page file: those pages of a memory or of a disk that hold anything, with a checksum over all of them.
 *
 *   "HLPAGES1"  table:u64 where it begins  ranges:u32 in it  zero:u32  checksum:u64 (XXH3, of each MiB of pages with the last one's as its seed, then of the table)
 *   then, from byte 4096, the pages, and the table: first page:u32 count:u32 for each range, in the pages' order.
 *
 * Written once and never again: whoever needs it longer than another makes a link.
 */
import { rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { HyperlaneError } from "#contract/errors.ts";

export const PAGE = 4096;
const MAGIC = "HLPAGES1";
const CHUNK = 256 * PAGE;
const ZERO = Buffer.alloc(PAGE);

/** [from, to) in bytes. */
export type ByteRange = [from: number, to: number];
type Read = (buffer: Buffer, offset: number) => Promise<void>;

/** Pages of zeros are left out; with `all` they are not, since they stand for something else elsewhere. How many bytes the file has. */
export async function writePages(path: string, ranges: Iterable<ByteRange>, read: Read, all = false): Promise<number> {
  rmSync(path, { force: true });
  const file = await open(path, "wx", 0o400);
  try {
    const table: [first: number, count: number][] = [];
    const [chunk, out] = [Buffer.alloc(CHUNK), Buffer.alloc(CHUNK)];
    let [held, at, checksum] = [0, PAGE, 0n];
    const flush = async (): Promise<void> => {
      checksum = Bun.hash.xxHash3(out.subarray(0, held), checksum);
      await file.write(out, 0, held, at);
      at += held;
      held = 0;
    };
    for (const [from, to] of ranges)
      for (let offset = from - (from % PAGE); offset < to; offset += CHUNK) {
        const bytes = chunk.subarray(0, Math.min(CHUNK, Math.ceil((to - offset) / PAGE) * PAGE));
        await read(bytes, offset);
        for (let page = 0; page < bytes.length; page += PAGE) {
          if (!all && bytes.compare(ZERO, 0, PAGE, page, page + PAGE) === 0) continue;
          held += bytes.copy(out, held, page, page + PAGE);
          append(table, (offset + page) / PAGE);
          if (held === CHUNK) await flush();
        }
      }
    if (held) await flush();
    const texts = Buffer.from(Uint32Array.from(table.flat()).buffer);
    const head = Buffer.alloc(PAGE);
    head.write(MAGIC);
    head.writeBigUInt64LE(BigInt(at), 8);
    head.writeUInt32LE(table.length, 16);
    head.writeBigUInt64LE(Bun.hash.xxHash3(texts, checksum), 24);
    await file.write(texts, 0, texts.length, at);
    await file.write(head, 0, PAGE, 0);
    await file.datasync();
    return at + texts.length;
  } finally {
    await file.close();
  }
}

function append(table: [number, number][], page: number): void {
  const last = table.at(-1);
  if (last && last[0] + last[1] === page) last[1]++;
  else table.push([page, 1]);
}

/** Which pages a page file has, in its order. */
export async function pagesIn(path: string): Promise<ByteRange[]> {
  const file = await open(path, "r");
  try {
    const { table } = await readTable(file, path);
    return Array.from({ length: table.length / 8 }, (_, i) => {
      const [first, count] = [table.readUInt32LE(i * 8), table.readUInt32LE(i * 8 + 4)];
      return [first * PAGE, (first + count) * PAGE];
    });
  } finally {
    await file.close();
  }
}

/** Hands out all pages, at most CHUNK bytes at once. Throws where the file is not what was written; what it has handed out by then is worth nothing. */
export async function readPages(path: string, put: (bytes: Buffer, offset: number) => Promise<void>): Promise<void> {
  const file = await open(path, "r");
  try {
    const { head, end, table, demand } = await readTable(file, path);
    const chunk = Buffer.alloc(CHUNK);
    let [checksum, range, done] = [0n, 0, 0];
    for (let at = PAGE; at < end; at += CHUNK) {
      const length = Math.min(CHUNK, end - at);
      demand((await file.read(chunk, 0, length, at)).bytesRead === length);
      checksum = Bun.hash.xxHash3(chunk.subarray(0, length), checksum);
      for (let held = 0; held < length;) {
        demand(range * 8 < table.length);
        const [first, count] = [table.readUInt32LE(range * 8), table.readUInt32LE(range * 8 + 4)];
        const bytes = Math.min(length - held, (count - done) * PAGE);
        demand(bytes > 0);
        await put(chunk.subarray(held, held + bytes), (first + done) * PAGE);
        held += bytes;
        done += bytes / PAGE;
        if (done === count) [range, done] = [range + 1, 0];
      }
    }
    demand(range * 8 === table.length && Bun.hash.xxHash3(table, checksum) === head.readBigUInt64LE(24));
  } finally {
    await file.close();
  }
}

async function readTable(file: FileHandle, path: string) {
  const demand = (whole: boolean): void => {
    if (!whole) throw new HyperlaneError("FAILED", `The saved pages "${path}" are damaged.`);
  };
  const head = Buffer.alloc(PAGE);
  await file.read(head, 0, PAGE, 0);
  demand(head.toString("latin1", 0, MAGIC.length) === MAGIC);
  const end = Number(head.readBigUInt64LE(8));
  const { size } = await file.stat();
  demand(end + head.readUInt32LE(16) * 8 === size);
  const table = Buffer.alloc(size - end);
  demand((await file.read(table, 0, table.length, end)).bytesRead === table.length);
  return { head, end, table, demand };
}
