/**
 * Tar archives as image layers hold them: ustar with PAX and GNU extensions (POSIX.1-2017 pax, tar(5)). Bytes are
 * pushed in, entries and their contents come out; nothing is kept. Names are byte strings (latin1), for a name in a
 * layer need not be UTF-8. Numbers that do not fit, checksums that do not match and cut-off archives are refused.
 */
import { HyperlaneError } from "#contract/errors.ts";

export type TarType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo";
/** size: of the contents once holes are filled. mtimeNs: nanoseconds beyond mtime. link: target of a symbolic or hard link. */
export type TarEntry = {
  path: string;
  type: TarType;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  mtimeNs: number;
  link: string;
  major: number;
  minor: number;
  xattrs: ReadonlyMap<string, Buffer>;
};
/** data: a file's contents in pieces, which are only good during the call. */
export type TarSink = { entry(entry: TarEntry): void; data(bytes: Buffer): void; end(): void };

const BLOCK = 512;
const EXTENSION_MAX_BYTES = 1024 * 1024;
const PATH_MAX_BYTES = 4096;
const ZEROS = Buffer.alloc(65536);
const TYPES: Record<string, TarType> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  S: "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "dir",
  "6": "fifo",
};
type Segment = { offset: number; size: number };
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

export function createTarReader(sink: TarSink): { push(bytes: Buffer): void; finish(): void } {
  let held = Buffer.alloc(0);
  /** Bytes of the current member's contents and padding still to come. */
  let contents = 0;
  let padding = 0;
  let take: ((bytes: Buffer) => void) | undefined;
  let done: (() => void) | undefined;
  let zeroBlocks = 0;
  let pax = new Map<string, Buffer>();
  let longName: string | undefined;
  let longLink: string | undefined;

  const member = (size: number, on: (bytes: Buffer) => void, then: () => void): void => {
    contents = size;
    padding = (BLOCK - (size % BLOCK)) % BLOCK;
    take = on;
    done = then;
  };

  function header(block: Buffer): void {
    if (block.every((b) => b === 0)) return void zeroBlocks++;
    if (zeroBlocks >= 2) return; // what follows the end is nobody's
    zeroBlocks = 0;
    checkSum(block);
    const type = String.fromCharCode(block[156]!);
    const size = number(block, 124, 12);
    if (type === "x" || type === "g" || type === "L" || type === "K") return extension(type, size);
    const kind = TYPES[type];
    if (!kind) throw malformed(`an entry of the unknown type "${type}"`);
    const entry = entryOf(block, kind, size, pax, longName, longLink);
    const sparse = sparseOf(block, type, pax);
    pax = new Map();
    longName = longLink = undefined;
    if (kind !== "file") {
      sink.entry({ ...entry, size: 0 });
      return member(kind === "link" ? 0 : entry.size, () => {}, sink.end);
    }
    if (!sparse) {
      sink.entry(entry);
      return member(entry.size, sink.data, sink.end);
    }
    const filler = fill(sink, { ...entry, size: sparse.realSize }, sparse);
    // The old form goes on with blocks of more segments, which are no part of the size.
    if (sparse.more) return moreSegments(sparse, () => member(entry.size, filler.data, filler.end));
    member(entry.size, filler.data, filler.end);
  }

  function moreSegments(sparse: Sparse, then: () => void): void {
    member(
      BLOCK,
      gather(BLOCK, (block) => {
        for (let at = 0; at < 504; at += 24) addSegment(sparse, block, at);
        sparse.more = block[504] !== 0;
      }),
      () => (sparse.more ? moreSegments(sparse, then) : then()),
    );
  }

  function extension(type: string, size: number): void {
    if (size > EXTENSION_MAX_BYTES) throw malformed("an extended header of more than 1 MiB");
    const whole = gather(size, (bytes) => {
      if (type === "x") pax = paxRecords(bytes);
      if (type === "L") longName = text(bytes, 0, bytes.length);
      if (type === "K") longLink = text(bytes, 0, bytes.length);
    });
    member(size, whole, () => {});
    if (size === 0) pax = new Map();
  }

  /** Whole blocks of what is held, then of what came; the rest waits. */
  function step(bytes: Buffer): number {
    if (contents > 0) {
      const n = Math.min(contents, bytes.length);
      take!(n === bytes.length ? bytes : bytes.subarray(0, n));
      contents -= n;
      if (contents === 0 && padding === 0) finishMember();
      return n;
    }
    if (padding > 0) {
      const n = Math.min(padding, bytes.length);
      padding -= n;
      if (padding === 0) finishMember();
      return n;
    }
    if (held.length + bytes.length < BLOCK) {
      held = Buffer.concat([held, bytes]);
      return bytes.length;
    }
    const n = BLOCK - held.length;
    const block = held.length ? Buffer.concat([held, bytes.subarray(0, n)]) : bytes.subarray(0, BLOCK);
    held = Buffer.alloc(0);
    header(block);
    if (done && contents === 0 && padding === 0) finishMember();
    return n;
  }

  function finishMember(): void {
    const then = done;
    done = undefined;
    then?.();
    if (done && contents === 0 && padding === 0) finishMember();
  }

  return {
    push(bytes) {
      for (let at = 0; at < bytes.length;) at += step(at === 0 ? bytes : bytes.subarray(at));
    },
    finish() {
      if (contents > 0 || padding > 0 || held.length > 0 || done) throw malformed("it is cut off");
    },
  };
}

function malformed(what: string): HyperlaneError {
  return new HyperlaneError("INVALID", `The layer is no good tar archive: ${what}.`);
}

/** Calls `then` with all of `size` bytes. */
function gather(size: number, then: (bytes: Buffer) => void): (bytes: Buffer) => void {
  const parts: Buffer[] = [];
  let have = 0;
  return (bytes) => {
    parts.push(Buffer.from(bytes));
    have += bytes.length;
    if (have === size) then(Buffer.concat(parts));
  };
}

function checkSum(block: Buffer): void {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i]!;
  if (sum !== number(block, 148, 8)) throw malformed("a header's checksum does not match");
}

/** Octal, or GNU's base 256 where the first bit is set. */
function number(block: Buffer, at: number, width: number): number {
  if (block[at]! & 0x80) {
    let value = BigInt(block[at]! & 0x3f);
    for (let i = 1; i < width; i++) value = (value << 8n) | BigInt(block[at + i]!);
    if (block[at]! & 0x40) value -= 1n << BigInt(8 * width - 2);
    const result = Number(value);
    if (!Number.isSafeInteger(result)) throw malformed("a number is too large");
    return result;
  }
  const digits = text(block, at, width).trim();
  if (digits === "") return 0;
  if (!/^[0-7]+$/.test(digits)) throw malformed(`"${digits}" where a number belongs`);
  return parseInt(digits, 8);
}

function text(block: Buffer, at: number, width: number): string {
  const end = block.indexOf(0, at);
  return block.toString("latin1", at, end >= at && end < at + width ? end : at + width);
}

function paxRecords(bytes: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = Number(bytes.toString("latin1", at, Math.max(at, space)));
    const end = at + length;
    const equals = bytes.indexOf(61, space);
    if (space < 0 || !Number.isInteger(length) || end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== 10)
      throw malformed("an extended header that cannot be read");
    const key = bytes.toString("latin1", space + 1, equals);
    const value = Buffer.from(bytes.subarray(equals + 1, end - 1));
    // GNU's sparse form 0.0 repeats its two keys; joined they are its form 0.1.
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const map = records.get("GNU.sparse.map");
      records.set("GNU.sparse.map", map ? Buffer.concat([map, Buffer.from(","), value]) : value);
    } else records.set(key, value);
    at = end;
  }
  return records;
}

function entryOf(
  block: Buffer,
  type: TarType,
  size: number,
  pax: Map<string, Buffer>,
  longName: string | undefined,
  longLink: string | undefined,
): TarEntry {
  const word = (key: string): string | undefined => pax.get(key)?.toString("latin1");
  const whole = (key: string, otherwise: number): number => {
    const given = word(key);
    if (given === undefined) return otherwise;
    if (!/^\d{1,15}$/.test(given)) throw malformed(`"${given}" where a number belongs`);
    return Number(given);
  };
  const posix = text(block, 257, 6) === "ustar";
  const prefix = posix ? text(block, 345, 155) : "";
  const path = word("GNU.sparse.name") ?? word("path") ?? longName ?? (prefix ? `${prefix}/` : "") + text(block, 0, 100);
  const link = word("linkpath") ?? longLink ?? text(block, 157, 100);
  if (path.length > PATH_MAX_BYTES || link.length >= PATH_MAX_BYTES) throw malformed("a path of more than 4096 bytes");
  if (path.includes("\0") || link.includes("\0")) throw malformed("a path with a NUL in it");
  const [mtime, mtimeNs] = timeOf(word("mtime"), number(block, 136, 12));
  const xattrs = new Map([...pax].flatMap(([k, v]) => (k.startsWith("SCHILY.xattr.") ? [[k.slice(13), v] as const] : [])));
  return {
    path,
    // Before POSIX a directory was a file whose name ends in a slash.
    type: type === "file" && path.endsWith("/") ? "dir" : type,
    mode: number(block, 100, 8) & 0o7777,
    uid: whole("uid", number(block, 108, 8)),
    gid: whole("gid", number(block, 116, 8)),
    size: whole("size", size),
    mtime,
    mtimeNs,
    link,
    major: number(block, 329, 8),
    minor: number(block, 337, 8),
    xattrs: xattrs.size ? xattrs : NO_XATTRS,
  };
}

function timeOf(given: string | undefined, otherwise: number): [seconds: number, ns: number] {
  if (given === undefined) return [otherwise, 0];
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(given);
  if (!match) throw malformed(`"${given}" where a time belongs`);
  const seconds = Number(match[2]);
  const ns = Number((match[3] ?? "").padEnd(9, "0").slice(0, 9));
  if (!match[1]) return [seconds, ns];
  return ns ? [-seconds - 1, 1_000_000_000 - ns] : [-seconds, 0];
}

/** lead: the segments stand as text before the contents (form 1.0). */
type Sparse = { realSize: number; segments: Segment[]; more: boolean; lead: boolean };

function sparseOf(block: Buffer, type: string, pax: Map<string, Buffer>): Sparse | undefined {
  const word = (key: string): string | undefined => pax.get(key)?.toString("latin1");
  if (type === "S") {
    const sparse: Sparse = { realSize: number(block, 483, 12), segments: [], more: block[482] !== 0, lead: false };
    for (let at = 386; at < 482; at += 24) addSegment(sparse, block, at);
    return sparse;
  }
  const map = word("GNU.sparse.map");
  const lead = word("GNU.sparse.major") === "1";
  if (map === undefined && !lead) return undefined;
  const realSize = Number(word("GNU.sparse.realsize") ?? word("GNU.sparse.size"));
  const numbers = map ? map.split(",").map(Number) : [];
  if (!Number.isSafeInteger(realSize) || realSize < 0 || numbers.length % 2 || numbers.some((n) => !Number.isSafeInteger(n) || n < 0))
    throw malformed("a sparse file's map cannot be read");
  return { realSize, segments: pairs(numbers), more: false, lead };
}

function addSegment(sparse: Sparse, block: Buffer, at: number): void {
  if (block[at] === 0) return;
  sparse.segments.push({ offset: number(block, at, 12), size: number(block, at + 12, 12) });
}

function pairs(numbers: number[]): Segment[] {
  return Array.from({ length: numbers.length / 2 }, (_, i) => ({ offset: numbers[2 * i]!, size: numbers[2 * i + 1]! }));
}

/** Contents with the holes filled in. */
function fill(sink: TarSink, entry: TarEntry, sparse: Sparse): { data(bytes: Buffer): void; end(): void } {
  let started = false;
  let at = 0;
  let lead = sparse.lead ? Buffer.alloc(0) : undefined;
  const zeros = (n: number): void => {
    for (; n > 0; n -= ZEROS.length, at += ZEROS.length) sink.data(n < ZEROS.length ? ZEROS.subarray(0, n) : ZEROS);
  };
  const padTo = (offset: number): void => {
    if (offset < at || offset > entry.size) throw malformed("a sparse file's map cannot be read");
    const n = offset - at;
    zeros(n);
    at = offset;
  };
  const start = (): void => {
    if (!started) sink.entry(entry);
    started = true;
  };
  function data(bytes: Buffer): void {
    if (lead) {
      lead = Buffer.concat([lead, bytes]);
      const map = leadMap(lead);
      if (!map) return;
      sparse.segments = map.segments;
      bytes = lead.subarray(map.bytes);
      lead = undefined;
    }
    start();
    for (let from = 0; from < bytes.length;) {
      const segment = sparse.segments[0];
      if (!segment) throw malformed("a sparse file with more contents than its map says");
      padTo(Math.max(at, segment.offset));
      const n = Math.min(bytes.length - from, segment.offset + segment.size - at);
      if (n > 0) sink.data(bytes.subarray(from, from + n));
      from += n;
      at += n;
      if (at >= segment.offset + segment.size) sparse.segments.shift();
    }
  }
  return {
    data,
    end() {
      start();
      padTo(entry.size);
      sink.end();
    },
  };
}

/** GNU's form 1.0: decimal numbers, one a line, padded to whole blocks. undefined: more is needed. */
function leadMap(bytes: Buffer): { segments: Segment[]; bytes: number } | undefined {
  const lines: number[] = [];
  let at = 0;
  let want = 1;
  while (lines.length < want) {
    const end = bytes.indexOf(10, at);
    if (end < 0) return undefined;
    const value = Number(bytes.toString("latin1", at, end));
    if (!Number.isSafeInteger(value) || value < 0) throw malformed("a sparse file's map cannot be read");
    lines.push(value);
    if (lines.length === 1) want = 1 + 2 * value;
    at = end + 1;
  }
  const total = Math.ceil(at / BLOCK) * BLOCK;
  return bytes.length < total ? undefined : { segments: pairs(lines.slice(1)), bytes: total };
}
