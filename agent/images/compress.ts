/**
 * File contents as EROFS's LZ4 clusters: each compressed extent fills at most one 4 KiB block and stands at its
 * block's end (LZ4_0PADDING); what does not get smaller is stored as it is. Format: the kernel's
 * Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h, the full ("legacy") index of 8 bytes a logical block.
 */
import { dlopen, ptr } from "bun:ffi";
import { HyperlaneError } from "#contract/errors.ts";

export const BLOCK = 4096;
/** The most input of one extent. Ordinary data fills its block with far less; zeros and the like profit. */
const EXTENT_MAX = 1024 * 1024;
const PLAIN = 0;
const HEAD = 1;
const NONHEAD = 2;

/** starts: byte offsets in the file. blocks: where each extent's block stands. */
export type Extents = { starts: number[]; blocks: number[]; plain: boolean[] };
export type Clusters = { write(bytes: Buffer): void; end(): Extents };

type Lz4 = { LZ4_compress_destSize(src: number, dst: number, srcSize: number, dstSize: number): number };
let lz4: Lz4 | undefined;

function loadLz4(): Lz4 {
  try {
    return dlopen("liblz4.so.1", { LZ4_compress_destSize: { args: ["ptr", "ptr", "ptr", "int"], returns: "int" } })
      .symbols as unknown as Lz4;
  } catch (cause) {
    throw new HyperlaneError("UNSUPPORTED", "The library liblz4.so.1 is missing on this host.", {
      hint: "apt-get install liblz4-1",
      cause,
    });
  }
}

/** One file's contents in, blocks out. putBlock: takes 4096 bytes, which are only good during the call; says where they stand. */
export function createCompressor(putBlock: (bytes: Buffer) => number): { open(): Clusters } {
  lz4 ??= loadLz4();
  const { LZ4_compress_destSize } = lz4;
  // One allocation, too large for the garbage collector to move, holds all that C sees.
  const arena = Buffer.alloc(2 * EXTENT_MAX + BLOCK + 8);
  const window = arena.subarray(0, 2 * EXTENT_MAX);
  const packed = arena.subarray(window.length, window.length + BLOCK);
  const taken = arena.subarray(window.length + BLOCK);
  const windowAt = ptr(arena);
  const [packedAt, takenAt] = [windowAt + window.length, windowAt + window.length + BLOCK];
  const block = Buffer.alloc(BLOCK);
  return {
    open() {
      const extents: Extents = { starts: [], blocks: [], plain: [] };
      let head = 0;
      let have = 0;
      let offset = 0;

      function emit(): void {
        let used = Math.min(have, BLOCK);
        let size = 0;
        if (have > BLOCK) {
          taken.writeInt32LE(Math.min(have, EXTENT_MAX));
          size = LZ4_compress_destSize(windowAt + head, packedAt, takenAt, BLOCK);
          if (taken.readInt32LE() > BLOCK) used = taken.readInt32LE();
          else size = 0;
        }
        block.fill(0);
        if (size > 0) packed.copy(block, BLOCK - size, 0, size);
        else window.copy(block, 0, head, head + used);
        extents.starts.push(offset);
        extents.blocks.push(putBlock(block));
        extents.plain.push(size === 0);
        head += used;
        have -= used;
        offset += used;
      }

      return {
        write(bytes) {
          for (let at = 0; at < bytes.length;) {
            if (head + have === window.length) {
              window.copyWithin(0, head, head + have);
              head = 0;
            }
            const n = Math.min(bytes.length - at, window.length - head - have);
            bytes.copy(window, head + have, at, at + n);
            have += n;
            at += n;
            while (have >= EXTENT_MAX) emit();
          }
        },
        end() {
          while (have > 0) emit();
          return extents;
        },
      };
    },
  };
}

/** As the compressor, for contents that are to stand as they are: in a row, of which the first is told. */
export function createPlain(putBlock: (bytes: Buffer) => number): { open(): Clusters } {
  const block = Buffer.alloc(BLOCK);
  return {
    open() {
      const extents: Extents = { starts: [0], blocks: [], plain: [true] };
      let held = 0;
      const emit = (): void => {
        const at = putBlock(block);
        if (!extents.blocks.length) extents.blocks.push(at);
        held = 0;
      };
      return {
        write(bytes) {
          for (let at = 0; at < bytes.length;) {
            const n = bytes.copy(block, held, at, at + BLOCK - held);
            held += n;
            at += n;
            if (held === BLOCK) emit();
          }
        },
        end() {
          if (held) {
            block.fill(0, held);
            emit();
          }
          return extents;
        },
      };
    },
  };
}

/** The index: for each logical block, the extent that begins in it, or how far it is to the one that holds it. */
export function encodeExtents({ starts, blocks, plain }: Extents, size: number): Buffer {
  const count = Math.ceil(size / BLOCK);
  const index = Buffer.alloc(count * 8);
  for (let i = 0; i < starts.length; i++) {
    const first = Math.floor(starts[i]! / BLOCK);
    const end = i + 1 < starts.length ? starts[i + 1]! : size;
    // Where the last extent ends inside a block in which none begins, a mark says so.
    const next = i + 1 < starts.length || end % BLOCK ? Math.floor(end / BLOCK) : count;
    put(index, first, plain[i] ? PLAIN : HEAD, starts[i]! % BLOCK, blocks[i]!);
    for (let at = first + 1; at < next; at++) {
      put(index, at, NONHEAD, 0, 0);
      index.writeUInt16LE(Math.min(at - first, 0xffff), at * 8 + 4);
      index.writeUInt16LE(Math.min(next - at, 0xffff), at * 8 + 6);
    }
    if (i + 1 === starts.length && end % BLOCK && next > first) put(index, next, PLAIN, end % BLOCK, 0);
  }
  return index;
}

function put(index: Buffer, at: number, type: number, offset: number, block: number): void {
  index.writeUInt16LE(type, at * 8);
  index.writeUInt16LE(offset, at * 8 + 2);
  index.writeUInt32LE(block, at * 8 + 4);
}
