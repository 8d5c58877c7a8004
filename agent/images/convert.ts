/**
 * The converter: an image's layers in, one EROFS file out. A process of its own with no rights: what comes from a
 * registry is taken apart here, and the worst it can do is make this process fail. It reads a request as one line of
 * JSON and then the layers' blobs, top layer first; it writes the image to its stdout, which must be a regular file,
 * and its answer as one line of JSON to its stderr.
 *
 * Top first, since what an upper layer hides need not be written at all; one blob is unpacked as it comes, and only
 * names and attributes are kept until the end.
 */
import { createReadStream, fstatSync, ftruncateSync, writeSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { through } from "#oci/through.ts";
import { createErofs, type FileWriter } from "./erofs.ts";
import { createTarReader, type TarEntry } from "./tar.ts";
import { applyLayer, createCover, emptyTree, splitPath, type LayerEntry, type Node } from "./tree.ts";
import { unpackerFor } from "./unpack.ts";

/** layers: bottom to top. diffId: digest of the unpacked archive. keepAll: also write what upper layers seem to hide. */
export const ConvertRequest = z.object({
  id: z.string(),
  layers: z.array(z.object({ digest: z.string(), diffId: z.string(), size: z.int() })),
  keepAll: z.boolean(),
  compress: z.boolean(),
  maxBytes: z.int(),
  maxEntries: z.int(),
});
export type ConvertRequest = z.infer<typeof ConvertRequest>;
/** again: the same request must come once more with keepAll. */
export const ConvertReply = z.union([
  z.object({ bytes: z.int(), inodes: z.int() }),
  z.object({ again: z.literal(true) }),
  z.object({ error: z.looseObject({ code: z.string(), message: z.string() }) }),
]);
export type ConvertReply = z.infer<typeof ConvertReply>;

const NOBODY = 65534;
/** Not written: an upper layer seems to hide it. */
const SKIPPED = -2;

export async function runConverter(): Promise<number> {
  if (process.getuid?.() === 0) {
    process.setgroups?.([]);
    process.setgid?.(NOBODY);
    process.setuid?.(NOBODY);
  }
  const reply: ConvertReply = await convert(readInput(), 1).catch((thrown) => ({ error: toHyperlaneError(thrown).toJSON() }));
  writeSync(2, `${JSON.stringify(reply)}\n`);
  return "error" in reply ? 1 : 0;
}

async function convert(input: Input, fd: number): Promise<ConvertReply> {
  if (!fstatSync(fd).isFile()) throw new HyperlaneError("BUG", "the converter's output is no regular file");
  ftruncateSync(fd, 0);
  const request = ConvertRequest.parse(JSON.parse(await input.line()));
  const erofs = createErofs(fd, request.compress);
  const cover = createCover();
  const budget = { bytes: request.maxBytes, entries: request.maxEntries };
  const layers: LayerEntry[][] = [];
  for (const [i, layer] of [...request.layers.entries()].reverse()) {
    const entries: LayerEntry[] = [];
    const hidden = (path: string): boolean => !request.keepAll && cover.hides(splitPath(path));
    await readLayer(input, layer, createLayerSink(erofs.file, entries, hidden, budget));
    if (i > 0) cover.add(entries);
    layers.unshift(entries);
  }
  const root = emptyTree();
  for (const [i, entries] of layers.entries()) applyLayer(root, entries, i);
  if (lacksData(root)) return { again: true };
  return erofs.finish(root, Buffer.from(new Bun.CryptoHasher("sha256").update(request.id).digest()));
}

function lacksData(node: Node): boolean {
  for (const child of node.children.values())
    if (child.type === "dir" ? lacksData(child) : child.type === "file" && child.data === SKIPPED) return true;
  return false;
}

/** Writes files as they come, and keeps the entries. */
function createLayerSink(
  open: (a: TarEntry & { type: "file" }, size: number) => FileWriter,
  entries: LayerEntry[],
  hidden: (path: string) => boolean,
  budget: { bytes: number; entries: number },
) {
  let writer: FileWriter | undefined;
  return {
    entry(entry: TarEntry): void {
      if (--budget.entries < 0) throw new HyperlaneError("TOO_LARGE", "The image holds too many files.");
      budget.bytes -= entry.size;
      if (budget.bytes < 0) throw new HyperlaneError("TOO_LARGE", "The image unpacks to more than is allowed.");
      const isFile = entry.type === "file";
      const skip = isFile && hidden(entry.path);
      writer = isFile && !skip ? open(entry as TarEntry & { type: "file" }, entry.size) : undefined;
      entries.push({ ...entry, data: skip ? SKIPPED : -1 });
    },
    data: (bytes: Buffer): void => writer?.write(bytes),
    end(): void {
      if (writer) entries.at(-1)!.data = writer.end();
      writer = undefined;
    },
  };
}

async function readLayer(
  input: Input,
  layer: ConvertRequest["layers"][number],
  sink: Parameters<typeof createTarReader>[0],
): Promise<void> {
  const packed = new Bun.CryptoHasher("sha256");
  const unpacked = new Bun.CryptoHasher("sha256");
  const tar = createTarReader(sink);
  const first = await input.peek(Math.min(4, layer.size));
  const counted = async function* () {
    for await (const bytes of input.take(layer.size)) {
      packed.update(bytes);
      yield bytes;
    }
  };
  const unpacker = unpackerFor(first);
  for await (const bytes of unpacker ? through(counted(), unpacker) : counted()) {
    unpacked.update(bytes);
    tar.push(bytes);
  }
  tar.finish();
  check("layer", layer.digest, packed.digest("hex"));
  check("unpacked layer", layer.diffId, unpacked.digest("hex"));
}

function check(what: string, want: string, got: string): void {
  if (want !== `sha256:${got}`)
    throw new HyperlaneError("CORRUPT", `The ${what} is not what its digest says: it should be ${want} and is sha256:${got}.`, {
      hint: "Remove the image and pull it again.",
    });
}

type Input = ReturnType<typeof readInput>;

/** stdin as a line, a look ahead, and runs of so many bytes. */
function readInput() {
  const chunks = (createReadStream("", { fd: 0, highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  async function more(): Promise<void> {
    const next = await chunks.next();
    if (next.done) throw new HyperlaneError("UNAVAILABLE", "The image's layers came to an end too soon.");
    held = held.length ? Buffer.concat([held, next.value]) : next.value;
  }
  return {
    async line(): Promise<string> {
      while (!held.includes(10)) await more();
      const end = held.indexOf(10);
      const line = held.toString("utf8", 0, end);
      held = held.subarray(end + 1);
      return line;
    },
    async peek(n: number): Promise<Buffer> {
      while (held.length < n) await more();
      return Buffer.concat([held.subarray(0, n), Buffer.alloc(4)]);
    },
    async *take(n: number): AsyncGenerator<Buffer> {
      while (n > 0) {
        if (!held.length) await more();
        const part = held.subarray(0, n);
        held = held.subarray(part.length);
        n -= part.length;
        yield part;
      }
    },
  };
}
