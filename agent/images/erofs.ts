/**
 * An EROFS image, written front to back as files come: a file's blocks, then its inode with what is left of it
 * (small files whole) behind it. Directories, links and devices follow at the end, when the tree is known. Layout:
 * the kernel's fs/erofs/erofs_fs.h. The same input gives the same bytes.
 *
 *   block 0    superblock at 1024, the root's inode behind it (its number must fit 16 bits)
 *   block 1..  data blocks and blocks of inodes, as they fall
 */
import { ftruncateSync, writeSync } from "node:fs";
import { BLOCK, createCompressor, createPlain, encodeExtents, type Clusters } from "./compress.ts";
import type { Node } from "./tree.ts";

const SUPER = 1024;
const ROOT_INODE = 1184;
const INODE = 64;
const SLOT = 32;
const MAGIC = 0xe0f5e1e2;
const LZ4_0PADDING = 1;
const LAYOUT = { plain: 0, full: 1, inline: 2 } as const;
/** Index of an inode's blocks begins this far behind it: the map header and its padding. */
const INDEX_HEAD = 16;
const MODE = { fifo: 0o010000, char: 0o020000, dir: 0o040000, block: 0o060000, file: 0o100000, symlink: 0o120000 };
const KIND = { file: 1, dir: 2, char: 3, block: 4, fifo: 5, symlink: 7 };
const XATTR_PREFIXES: readonly [index: number, prefix: string][] = [
  [2, "system.posix_acl_access"],
  [3, "system.posix_acl_default"],
  [1, "user."],
  [4, "trusted."],
  [6, "security."],
];
const BATCH = 1024 * 1024;
const ZEROS = Buffer.alloc(BLOCK);

type Attributes = Pick<Node, "type" | "mode" | "uid" | "gid" | "mtime" | "mtimeNs" | "xattrs">;
/** Takes one regular file's contents; end() gives its number. */
export type FileWriter = { write(bytes: Buffer): void; end(): number };

/** fd: an empty regular file, open for writing. compress: with LZ4, whatever gets smaller. */
export function createErofs(fd: number, compress: boolean) {
  const out = createBlocks(fd);
  const contents = compress ? createCompressor(out.put) : createPlain(out.put);
  let serial = 1;

  function inode(a: Attributes, size: number, layout: number, u: number, xattrs: Buffer, nlink: number): Buffer {
    const b = Buffer.alloc(INODE + xattrs.length);
    b.writeUInt16LE(1 | (layout << 1), 0);
    b.writeUInt16LE(xattrs.length ? (xattrs.length - 12) / 4 + 1 : 0, 2);
    b.writeUInt16LE(MODE[a.type] | a.mode, 4);
    b.writeBigUInt64LE(BigInt(size), 8);
    b.writeUInt32LE(u >>> 0, 16);
    b.writeUInt32LE(serial++, 20);
    b.writeUInt32LE(a.uid >>> 0, 24);
    b.writeUInt32LE(a.gid >>> 0, 28);
    b.writeBigInt64LE(BigInt(a.mtime), 32);
    b.writeUInt32LE(a.mtimeNs, 40);
    b.writeUInt32LE(nlink, 44);
    xattrs.copy(b, INODE);
    return b;
  }

  /** Contents behind the inode where they fit into its block, else in blocks of their own. */
  function small(a: Attributes, contents: Buffer, u: number, nlink: number): number {
    const xattrs = encodeXattrs(a.xattrs);
    if (INODE + xattrs.length + contents.length <= BLOCK && contents.length > 0) {
      const head = inode(a, contents.length, LAYOUT.inline, u, xattrs, nlink);
      return out.meta(Buffer.concat([head, contents])) / SLOT;
    }
    return out.meta(inode(a, contents.length, LAYOUT.plain, contents.length ? out.run(contents) : u, xattrs, nlink)) / SLOT;
  }

  function file(a: Attributes, size: number): FileWriter {
    const whole = size < BLOCK ? Buffer.alloc(size) : undefined;
    const clusters: Clusters | undefined = whole ? undefined : contents.open();
    let have = 0;
    return {
      write(bytes) {
        if (whole) bytes.copy(whole, have);
        else clusters!.write(bytes);
        have += bytes.length;
      },
      end() {
        if (whole) return small(a, whole, 0, 1);
        const extents = clusters!.end();
        const xattrs = encodeXattrs(a.xattrs);
        // Nothing got smaller: its blocks stand in a row, and reading them needs no index.
        if (extents.plain.every(Boolean)) return out.meta(inode(a, size, LAYOUT.plain, extents.blocks[0]!, xattrs, 1)) / SLOT;
        const head = inode(a, size, LAYOUT.full, extents.blocks.length, xattrs, 1);
        const gap = Buffer.alloc((8 - (head.length % 8)) % 8);
        return out.meta(Buffer.concat([head, gap, Buffer.alloc(INDEX_HEAD), encodeExtents(extents, size)])) / SLOT;
      },
    };
  }

  /** Writes what the tree holds beside regular files' contents, and the superblock. uuid: 16 bytes. */
  function finish(root: Node, uuid: Buffer): { inodes: number; bytes: number } {
    const numbers = new Map<Node, number>([[root, ROOT_INODE / SLOT]]);
    const dirs: { node: Node; parent: Node; size: number; xattrs: Buffer; at: number; block: number }[] = [];
    const visit = (node: Node, parent: Node): void => {
      const xattrs = encodeXattrs(node.xattrs);
      const size = directorySize(node);
      const isRoot = node === root;
      // The root's inode has its place, and little room behind it.
      const inline = !isRoot && INODE + xattrs.length + size <= BLOCK;
      if (isRoot && INODE + xattrs.length > BLOCK - ROOT_INODE) throw new Error("the root directory has too many extended attributes");
      const block = inline ? -1 : out.reserve(Math.ceil(size / BLOCK));
      const at = isRoot ? ROOT_INODE : out.meta(Buffer.alloc(INODE + xattrs.length + (inline ? size : 0)));
      numbers.set(node, at / SLOT);
      dirs.push({ node, parent, size, xattrs, at, block });
      for (const child of node.children.values()) {
        if (child.type === "dir") visit(child, node);
        else if (!numbers.has(child)) numbers.set(child, leaf(child));
      }
    };
    const leaf = (node: Node): number => {
      if (node.type === "file") {
        if (node.nlink > 1) out.poke(node.data * SLOT + 44, u32(node.nlink));
        return node.data;
      }
      const device = node.type === "char" || node.type === "block" ? encodeDevice(node.major, node.minor) : 0;
      return small(node, node.type === "symlink" ? Buffer.from(node.link, "latin1") : Buffer.alloc(0), device, node.nlink);
    };
    visit(root, root);
    for (const { node, parent, size, xattrs, at, block } of dirs) {
      const subdirs = [...node.children.values()].filter((c) => c.type === "dir").length;
      const bytes = encodeDirectory(node, numbers.get(node)!, numbers.get(parent)!, numbers);
      const head = inode(node, size, block < 0 ? LAYOUT.inline : LAYOUT.plain, Math.max(block, 0), xattrs, 2 + subdirs);
      out.poke(at, block < 0 ? Buffer.concat([head, bytes]) : head);
      if (block >= 0) out.poke(block * BLOCK, bytes);
    }
    const blocks = out.close();
    const sb = Buffer.alloc(128);
    sb.writeUInt32LE(MAGIC, 0);
    sb.writeUInt8(12, 12);
    sb.writeUInt16LE(ROOT_INODE / SLOT, 14);
    sb.writeBigUInt64LE(BigInt(serial - 1), 16);
    sb.writeUInt32LE(blocks, 36);
    uuid.copy(sb, 48, 0, 16);
    sb.writeUInt32LE(LZ4_0PADDING, 80);
    writeAll(fd, sb, SUPER);
    return { inodes: serial - 1, bytes: blocks * BLOCK };
  }

  return { file, finish };
}

/** The file as blocks: data in batches, one block of inodes being filled, and corrections of what is written already. */
function createBlocks(fd: number) {
  let next = 1;
  const batch = Buffer.alloc(BATCH);
  let batchAt = 0;
  let batched = 0;
  const meta = Buffer.alloc(BLOCK);
  let metaBlock = 0;
  let metaUsed = ROOT_INODE;
  // Block 0 is the first that holds inodes; nothing but the root's goes there, since its size is not known yet.
  let metaFull = true;

  const flush = (): void => {
    if (batched) writeAll(fd, batch.subarray(0, batched), batchAt * BLOCK);
    batched = 0;
  };
  const flushMeta = (): void => writeAll(fd, meta.subarray(0, BLOCK), metaBlock * BLOCK);

  const blocks = {
    /** Zeros are holes. */
    put(bytes: Buffer): number {
      if (bytes.equals(ZEROS)) return next++;
      if (batched === BATCH || (batched && batchAt + batched / BLOCK !== next)) flush();
      if (!batched) batchAt = next;
      bytes.copy(batch, batched);
      batched += BLOCK;
      return next++;
    },
    reserve(count: number): number {
      const at = next;
      next += count;
      return at;
    },
    /** Contents in whole blocks in a row; where they begin. */
    run(contents: Buffer): number {
      const at = blocks.reserve(Math.ceil(contents.length / BLOCK));
      writeAll(fd, contents, at * BLOCK);
      return at;
    },
    /** Places an inode with what belongs behind it; its byte offset. Up to one block stays within one block. */
    meta(bytes: Buffer): number {
      const place = Math.ceil(metaUsed / SLOT) * SLOT;
      if (!metaFull && place + bytes.length <= BLOCK) {
        bytes.copy(meta, place);
        metaUsed = place + bytes.length;
        return metaBlock * BLOCK + place;
      }
      if (!metaFull) flushMeta();
      metaFull = false;
      const count = Math.max(1, Math.ceil(bytes.length / BLOCK));
      const at = blocks.reserve(count);
      const whole = (count - 1) * BLOCK;
      if (whole) writeAll(fd, bytes.subarray(0, whole), at * BLOCK);
      meta.fill(0);
      bytes.copy(meta, 0, whole);
      metaBlock = at + count - 1;
      metaUsed = bytes.length - whole;
      return at * BLOCK;
    },
    poke(offset: number, bytes: Buffer): void {
      const inMeta = !metaFull && offset >= metaBlock * BLOCK;
      if (inMeta && offset < (metaBlock + 1) * BLOCK) bytes.copy(meta, offset - metaBlock * BLOCK);
      else if (!metaFull && offset < metaBlock * BLOCK && offset + bytes.length > metaBlock * BLOCK) {
        const cut = metaBlock * BLOCK - offset;
        writeAll(fd, bytes.subarray(0, cut), offset);
        bytes.copy(meta, 0, cut);
      } else writeAll(fd, bytes, offset);
    },
    /** How many blocks there are in all. */
    close(): number {
      flush();
      if (!metaFull) flushMeta();
      ftruncateSync(fd, next * BLOCK);
      return next;
    },
  };
  return blocks;
}

function writeAll(fd: number, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** linux/kdev_t.h, new_encode_dev. */
function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** Attributes whose name space EROFS has no number for cannot be kept, and no file system of a machine would show them. */
function encodeXattrs(xattrs: Node["xattrs"]): Buffer {
  const entries = [...xattrs].flatMap(([name, value]) => {
    const [index, prefix] = XATTR_PREFIXES.find(([, p]) => name.startsWith(p)) ?? [];
    if (index === undefined || prefix === undefined) return [];
    const rest = Buffer.from(name.slice(prefix.length), "latin1");
    const entry = Buffer.alloc(Math.ceil((4 + rest.length + value.length) / 4) * 4);
    entry.writeUInt8(rest.length, 0);
    entry.writeUInt8(index, 1);
    entry.writeUInt16LE(value.length, 2);
    rest.copy(entry, 4);
    value.copy(entry, 4 + rest.length);
    return [entry];
  });
  return entries.length ? Buffer.concat([Buffer.alloc(12), ...entries]) : Buffer.alloc(0);
}

type Dirent = { name: Buffer; node: Node | "self" | "parent" };

/** Blocks of entries: each holds its entries' heads, then their names; names go on in byte order from block to block. */
function* directoryBlocks(node: Node): Generator<Dirent[]> {
  const all: Dirent[] = [...node.children].map(([name, child]) => ({ name: Buffer.from(name, "latin1"), node: child }));
  all.push({ name: Buffer.from("."), node: "self" }, { name: Buffer.from(".."), node: "parent" });
  all.sort((a, b) => Buffer.compare(a.name, b.name));
  let block: Dirent[] = [];
  let used = 0;
  for (const entry of all) {
    if (used + 12 + entry.name.length > BLOCK) {
      yield block;
      block = [];
      used = 0;
    }
    block.push(entry);
    used += 12 + entry.name.length;
  }
  yield block;
}

function directorySize(node: Node): number {
  let size = 0;
  let last = 0;
  for (const block of directoryBlocks(node)) {
    size += last ? BLOCK : 0;
    last = block.reduce((n, e) => n + 12 + e.name.length, 0);
  }
  return size + last;
}

function encodeDirectory(node: Node, self: number, parent: number, numbers: ReadonlyMap<Node, number>): Buffer {
  const out = Buffer.alloc(directorySize(node));
  let base = 0;
  for (const block of directoryBlocks(node)) {
    let nameAt = block.length * 12;
    for (const [i, { name, node: child }] of block.entries()) {
      const nid = child === "self" ? self : child === "parent" ? parent : numbers.get(child)!;
      out.writeBigUInt64LE(BigInt(nid), base + i * 12);
      out.writeUInt16LE(nameAt, base + i * 12 + 8);
      out.writeUInt8(typeof child === "string" ? KIND.dir : KIND[child.type], base + i * 12 + 10);
      name.copy(out, base + nameAt);
      nameAt += name.length;
    }
    base += BLOCK;
  }
  return out;
}
