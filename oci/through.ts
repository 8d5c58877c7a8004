/** Bytes through a transform of node:zlib, with errors of both ends coming out at the far one. */
import { Readable, type Transform } from "node:stream";

export function through(source: AsyncIterable<Uint8Array>, transform: Transform): AsyncIterable<Buffer> {
  const input = Readable.from(source, { objectMode: false });
  input.on("error", (error) => transform.destroy(error));
  return input.pipe(transform) as AsyncIterable<Buffer>;
}
