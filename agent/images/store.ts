/**
 * The node's images: ROOTFS.erofs files that never change, each made from an image's layers and named by them (the
 * chain id). One appears under its name only when it is whole and on the disk.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statfsSync, statSync } from "node:fs";
import { fromErrorBody, HyperlaneError } from "#contract/errors.ts";
import type { ImageHead } from "#contract/wire/agent.ts";
import { runFed } from "#agent/host/run.ts";
import { createTurns } from "#agent/host/turns.ts";
import { ConvertReply, type ConvertRequest } from "./convert.ts";

export type Images = ReturnType<typeof openImages>;

const MAX_ENTRIES = 2_000_000;
/** What an image may unpack to, beside what the disk has room for once packed again. */
const MAX_UNPACKED_BYTES = 256 * 2 ** 30;
/** With less than this left, what failed has failed for want of room. */
const FULL_BYTES = 64 * 2 ** 20;
const ARRIVAL_MS = 30 * 60 * 1000;

/**
 * converter: how the converter is started (convert.ts). atOnce: how many of them. compress: smaller files, for guests
 * that take no notice of unpacking what they read.
 */
export function openImages(dir: string, converter: readonly string[], atOnce: number, compress: boolean) {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  for (const name of readdirSync(dir)) if (!/^[a-f0-9]{64}\.erofs$/.test(name)) rmSync(`${dir}/${name}`, { recursive: true, force: true });
  const file = (rootfs: string): string => `${dir}/${rootfs}.erofs`;
  const coming = new Map<string, Promise<{ again: boolean }>>();
  const listeners = new Set<(rootfs: string, failure: HyperlaneError | null) => void>();

  // What waits for its turn is not read meanwhile, so nothing piles up.
  const turns = createTurns(atOnce);

  async function make(head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<{ again: boolean }> {
    const next = `${file(head.rootfs)}.new`;
    const fd = openSync(next, "w", 0o644);
    try {
      const { rootfs: id, layers, keepAll } = head;
      const request: ConvertRequest = { id, layers, keepAll, compress, maxBytes: MAX_UNPACKED_BYTES, maxEntries: MAX_ENTRIES };
      const said = await runFed(converter, lead(request, blobs), fd);
      const reply = ConvertReply.safeParse(parseLast(said.stderr));
      if (!reply.success)
        throw new HyperlaneError("FAILED", `The converter ended without an answer (${said.ended}): ${said.stderr.slice(-300)}`);
      if ("error" in reply.data) throw noSpace(dir) ?? fromErrorBody(reply.data.error);
      if ("again" in reply.data) return { again: true };
      fsyncSync(fd);
      renameSync(next, file(head.rootfs));
      return { again: false };
    } finally {
      closeSync(fd);
      rmSync(next, { force: true });
    }
  }

  return {
    list: (): { rootfs: string; bytes: number }[] =>
      readdirSync(dir)
        .filter((n) => n.endsWith(".erofs"))
        .map((n) => ({ rootfs: n.slice(0, 64), bytes: statSync(`${dir}/${n}`).size })),
    find: (rootfs: string): string | null => (existsSync(file(rootfs)) ? file(rootfs) : null),
    /** Makes a file system of layers as they come. Two that bring the same are one. */
    async receive(head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<{ again: boolean }> {
      if (existsSync(file(head.rootfs))) return { again: false };
      const other = coming.get(head.rootfs);
      if (other) return await other;
      const work = turns.turn(() => make(head, blobs));
      coming.set(head.rootfs, work);
      const tell = (failure: HyperlaneError | null): void => [...listeners].forEach((l) => l(head.rootfs, failure));
      try {
        const taken = await work;
        if (!taken.again) tell(null);
        return taken;
      } catch (thrown) {
        tell(thrown as HyperlaneError);
        throw thrown;
      } finally {
        coming.delete(head.rootfs);
      }
    },
    /** Called when one is there, or could not be made. */
    onArrival(listener: (rootfs: string, failure: HyperlaneError | null) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    /** The file, once the control plane has sent what it is made from. */
    async arrived(rootfs: string, signal: AbortSignal): Promise<string> {
      if (existsSync(file(rootfs))) return file(rootfs);
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const timer = setTimeout(() => reject(new HyperlaneError("TIMEOUT", "Its image did not arrive within half an hour.")), ARRIVAL_MS);
      const stop = this.onArrival((which, failure) => {
        if (which !== rootfs) return;
        if (failure && failure.code !== "UNAVAILABLE") reject(failure);
        else if (!failure) resolve(file(rootfs));
      });
      signal.addEventListener("abort", () => reject(new Error("interrupted")));
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        stop();
      }
    },
    remove: (rootfs: string): void => rmSync(file(rootfs), { force: true }),
  };
}

async function* lead(request: ConvertRequest, blobs: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield Buffer.from(`${JSON.stringify(request)}\n`);
  yield* blobs;
}

function parseLast(text: string): unknown {
  try {
    return JSON.parse(text.trim().split("\n").at(-1) ?? "");
  } catch {
    return undefined;
  }
}

/** The converter sees a failed write; that it was for want of room is seen here. */
function noSpace(dir: string): HyperlaneError | undefined {
  const s = statfsSync(dir);
  return s.bavail * s.bsize < FULL_BYTES
    ? new HyperlaneError("NO_SPACE", "The node's disk is full: the image could not be unpacked.")
    : undefined;
}
