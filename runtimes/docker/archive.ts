/** An image for the engine's ImageLoad, in the format of `docker save`, from layers as they come. */
import { pack } from "tar-stream";

/** Layers bottom to top; their blobs come top first, packed as they are. */
export type LayeredImage = { name: string; layers: readonly { diffId: string; size: number }[]; blobs: AsyncIterable<Uint8Array> };

/** The archive's bytes. Throws where the blobs are not of the sizes that were announced. */
export async function* archiveOf({ name, layers, blobs }: LayeredImage): AsyncGenerator<Uint8Array> {
  const tar = pack();
  const writing = write(tar, name, layers, blobs);
  writing.catch(() => tar.destroy());
  yield* tar as AsyncIterable<Uint8Array>;
  await writing;
}

async function write(tar: ReturnType<typeof pack>, name: string, layers: LayeredImage["layers"], blobs: AsyncIterable<Uint8Array>) {
  const fileOf = (diffId: string): string => `${diffId.replace(":", "-")}.tar`;
  const config = { architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: layers.map((l) => l.diffId) } };
  const manifest = [{ Config: "config.json", RepoTags: [name], Layers: layers.map((l) => fileOf(l.diffId)) }];
  tar.entry({ name: "config.json" }, JSON.stringify(config));
  tar.entry({ name: "manifest.json" }, JSON.stringify(manifest));
  let held: Uint8Array = new Uint8Array();
  const pieces = blobs[Symbol.asyncIterator]();
  const seen = new Set<string>();
  for (const { diffId, size } of [...layers].reverse()) {
    // The same layer may be there twice; in the archive it is one file.
    const entry = seen.has(diffId) ? undefined : tar.entry({ name: fileOf(diffId), size });
    seen.add(diffId);
    for (let left = size; left > 0;) {
      if (!held.length) {
        const next = await pieces.next();
        if (next.done) throw new Error("The image's layers end too early.");
        held = next.value;
      }
      const part = held.subarray(0, left);
      held = held.subarray(part.length);
      left -= part.length;
      if (entry && !entry.write(part)) await new Promise<void>((done) => (entry as NodeJS.WritableStream).once("drain", () => done()));
    }
    (entry as NodeJS.WritableStream | undefined)?.end();
  }
  tar.finalize();
}
