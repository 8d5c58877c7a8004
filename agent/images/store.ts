/** The node's images: who sent them, who waits for them, and where they are kept. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statfsSync, statSync } from "node:fs";
import { fromErrorBody, HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { isForContainers, type ImageHead } from "#contract/wire/agent.ts";
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

/** Where images of one kind are kept, by the names of their root file systems. */
export type ImageKind = {
  list(): { rootfs: string; bytes: number }[];
  /** What a machine is started from; null: it is not there. */
  find(rootfs: string): string | null;
  /** From layers, top first as they come; again: they are needed once more, all of them (ImageTaken). */
  make(head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<{ again: boolean }>;
  remove(rootfs: string): void;
};

/** containers: for those that are for containers (contract/wire/agent.ts). atOnce: how many are made. */
export function openImages(files: ImageKind, containers: ImageKind, atOnce: number) {
  const coming = new Map<string, Promise<{ again: boolean }>>();
  const listeners = new Set<(rootfs: string, failure: HyperlaneError | null) => void>();
  const kindOf = (rootfs: string): ImageKind => (isForContainers(rootfs) ? containers : files);
  const find = (rootfs: string): string | null => kindOf(rootfs).find(rootfs);

  // What waits for its turn is not read meanwhile, so nothing piles up.
  const turns = createTurns(atOnce);

  return {
    list: (): { rootfs: string; bytes: number }[] => [files, containers].flatMap((kind) => kind.list()),
    find,
    /** Makes a file system of layers as they come. Two that bring the same are one. */
    async receive(head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<{ again: boolean }> {
      if (find(head.rootfs) !== null) return { again: false };
      const other = coming.get(head.rootfs);
      if (other) return await other;
      const work = turns.turn(() => kindOf(head.rootfs).make(head, blobs));
      coming.set(head.rootfs, work);
      const tell = (failure: HyperlaneError | null): void => [...listeners].forEach((l) => l(head.rootfs, failure));
      try {
        const taken = await work;
        if (!taken.again) tell(null);
        return taken;
      } catch (thrown) {
        tell(toHyperlaneError(thrown));
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
    /** What a machine is started from, once the control plane has sent what it is made of. */
    async arrived(rootfs: string, signal: AbortSignal): Promise<string> {
      const there = find(rootfs);
      if (there !== null) return there;
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const timer = setTimeout(() => reject(new HyperlaneError("TIMEOUT", "Its image did not arrive within half an hour.")), ARRIVAL_MS);
      const stop = this.onArrival((which, failure) => {
        if (which !== rootfs) return;
        if (failure && failure.code !== "UNAVAILABLE") reject(failure);
        else if (!failure) resolve(find(rootfs)!);
      });
      signal.addEventListener("abort", () => reject(new Error("interrupted")));
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        stop();
      }
    },
    remove: (rootfs: string): void => kindOf(rootfs).remove(rootfs),
  };
}

/**
 * ROOTFS.erofs files that never change, each made from an image's layers and named by them (the chain id). One appears under
 * its name only when it is whole and on the disk. converter: how the converter is started (convert.ts). compress: smaller
 * files, for guests that take no notice of unpacking what they read.
 */
export function openFileSystems(dir: string, converter: readonly string[], compress: boolean): ImageKind {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  for (const name of readdirSync(dir)) if (!/^[a-f0-9]{64}\.erofs$/.test(name)) rmSync(`${dir}/${name}`, { recursive: true, force: true });
  const file = (rootfs: string): string => `${dir}/${rootfs}.erofs`;
  return {
    list: () =>
      readdirSync(dir)
        .filter((n) => n.endsWith(".erofs"))
        .map((n) => ({ rootfs: n.slice(0, 64), bytes: statSync(`${dir}/${n}`).size })),
    find: (rootfs) => (existsSync(file(rootfs)) ? file(rootfs) : null),
    async make(head, blobs) {
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
    },
    remove: (rootfs) => rmSync(file(rootfs), { force: true }),
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
