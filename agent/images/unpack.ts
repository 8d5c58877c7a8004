/** What a stream is packed with. */
import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";

/** By its first four bytes, as the peers do: media types are often wrong. undefined: it is not packed. */
export function unpackerFor(first: Buffer): Transform | undefined {
  if (first.readUInt16BE(0) === 0x1f8b) return createGunzip({ chunkSize: 256 * 1024 });
  const magic = first.readUInt32LE(0);
  const zstd = magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
  return zstd ? createZstdDecompress({ chunkSize: 256 * 1024 }) : undefined;
}
