/**
 * A machine's way where its VMM cannot be sent while it runs. Its disk is copied while it runs; then it stands still, what has
 * changed of the disk since follows, and its RAM and devices, written as for standby. It stays whole where it was until it runs there.
 *
 * On the disk's stream, again and again: where:u64 length:u32 zeros:u32 (1: nothing follows, it is all zeros), then so many bytes.
 */
import { createReadStream, createWriteStream, mkdirSync, rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { HyperlaneError } from "#contract/errors.ts";
import { dataRanges } from "#agent/host/libc.ts";
import type { Vm } from "#runtimes/driver.ts";
import { refuse, sendAll, type Stream } from "./streams.ts";

const CHUNK = 256 * 1024;
const HEAD = 16;
const ZERO = Buffer.alloc(CHUNK);
/** The disk is gone over again while it runs, so that little is left for when it stands still. */
const [PASSES, SHORT_MS] = [3, 1_000];
export const PARTS = ["disk", "devices", "pages"] as const;
export type Part = (typeof PARTS)[number];

/** dir: for what is saved, of nobody else. Since when it stands still, in ms since 1970. */
export async function sendSaved(
  vm: Vm,
  { disk, dir, memoryMib, open: to }: { disk: string; dir: string; memoryMib: number; open(part: Part): Stream },
  signal: AbortSignal,
): Promise<number> {
  let since = 0;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const stop = async (): Promise<void> => {
    signal.throwIfAborted();
    since = Date.now();
    await vm.pause();
    await vm.save({ devices: `${dir}/devices`, pages: `${dir}/pages`, whole: null }, memoryMib);
  };
  try {
    await sendAll(to("disk"), diskBytes(disk, stop, signal));
    for (const part of ["devices", "pages"] as const) {
      signal.throwIfAborted();
      await sendAll(to(part), createReadStream(`${dir}/${part}`));
    }
    return since;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** All of it, and what has become another since; stop: from then on nothing of it does. */
async function* diskBytes(path: string, stop: () => Promise<void>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = await open(path, "r");
  try {
    const sent = new Map<number, string>();
    for (let pass = 0, ms = Infinity; pass < PASSES && ms > SHORT_MS; pass++) {
      const from = performance.now();
      yield* changes(file, sent, signal);
      ms = performance.now() - from;
    }
    await stop();
    yield* changes(file, sent, signal);
  } finally {
    await file.close();
  }
}

/** sent: what the other end has, by where it is; brought up to date. */
async function* changes(file: FileHandle, sent: Map<number, string>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { size } = await file.stat();
  const chunk = Buffer.alloc(CHUNK);
  const gone = new Set(sent.keys());
  for (const at of chunksIn(dataRanges(file.fd, size))) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(chunk, 0, CHUNK, at);
    const bytes = chunk.subarray(0, bytesRead);
    if (bytes.equals(ZERO.subarray(0, bytesRead))) continue;
    gone.delete(at);
    const sum = new Bun.CryptoHasher("sha256").update(bytes).digest("base64");
    if (sent.get(at) === sum) continue;
    sent.set(at, sum);
    yield head(at, bytesRead, false);
    yield Uint8Array.from(bytes);
  }
  for (const at of gone) {
    sent.delete(at);
    yield head(at, Math.min(CHUNK, size - at), true);
  }
}

function* chunksIn(ranges: Iterable<[from: number, to: number]>): Generator<number> {
  let next = 0;
  for (const [from, to] of ranges) for (next = Math.max(next, from - (from % CHUNK)); next < to; next += CHUNK) yield next;
}

function head(at: number, length: number, zeros: boolean): Uint8Array {
  const bytes = Buffer.alloc(HEAD);
  bytes.writeBigUInt64LE(BigInt(at), 0);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt32LE(zeros ? 1 : 0, 12);
  return bytes;
}

/** disk: is there, and holds nothing. dir: gets the rest. */
export function receiveSaved({ disk, dir }: { disk: string; dir: string }) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const parts = Object.fromEntries(PARTS.map((part) => [part, Promise.withResolvers<void>()])) as Record<Part, PromiseWithResolvers<void>>;
  const { promise: broken, reject } = Promise.withResolvers<never>();
  broken.catch(() => {});
  const all = Promise.all(PARTS.map((part) => parts[part].promise));
  all.catch(reject);
  return {
    take(part: Part, stream: Stream): void {
      const taken = part === "disk" ? writeDisk(disk, stream) : pipeline(stream, createWriteStream(`${dir}/${part}`, { mode: 0o600 }));
      void taken.then(
        () => (stream.end(), parts[part].resolve()),
        (thrown) => (refuse(stream, thrown), parts[part].reject(thrown)),
      );
    },
    /** All of them have come, whole; and that they will not. */
    all,
    broken,
  };
}

async function writeDisk(path: string, stream: Stream): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { size } = await file.stat();
    let held: Buffer = Buffer.alloc(0);
    const take = async (bytes: Buffer): Promise<void> => {
      held = Buffer.concat([held, bytes]);
      for (let found = firstIn(held); found; found = firstIn(held)) {
        const { at, length, content } = found;
        if (length > CHUNK || at + length > size) throw new HyperlaneError("FAILED", "what came is no part of its disk");
        await file.write(content ?? ZERO, 0, length, at);
        held = held.subarray(HEAD + (content ? length : 0));
      }
    };
    await pipeline(stream, new Writable({ write: (bytes: Buffer, _, done) => void take(bytes).then(() => done(), done) }));
    if (held.length) throw new HyperlaneError("FAILED", "its disk did not come whole");
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** undefined: not all of it has come. content: undefined for zeros. */
function firstIn(held: Buffer): { at: number; length: number; content: Buffer | undefined } | undefined {
  if (held.length < HEAD) return undefined;
  const [at, length, zeros] = [Number(held.readBigUInt64LE(0)), held.readUInt32LE(8), held.readUInt32LE(12) === 1];
  if (!zeros && length <= CHUNK && held.length < HEAD + length) return undefined;
  return { at, length, content: zeros ? undefined : held.subarray(HEAD, HEAD + length) };
}
