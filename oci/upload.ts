/** Blobs to a registry: in one piece where they are small, else in chunks, so that a slow line does not begin again from the start. */
import type { Session } from "./session.ts";

const CHUNK_BYTES = 16 * 1024 * 1024;

export function createUploads({ base, send, refuse }: Session) {
  /** An upload in progress: its parts in order, then its digest. */
  async function begin(repository: string) {
    const begun = await send(repository, `/v2/${repository}/blobs/uploads/`, { method: "POST" });
    if (begun.status !== 202) await refuse(begun, `an upload to "${repository}"`);
    let at = begun.headers.get("location") ?? "";
    return {
      async part(from: number, bytes: Uint8Array): Promise<void> {
        const headers = { "content-type": "application/octet-stream", "content-range": `${from}-${from + bytes.length - 1}` };
        const response = await send(repository, at, { method: "PATCH", body: bytes as never, headers, once: true });
        if (response.status !== 202) await refuse(response, "a part of an upload");
        at = response.headers.get("location") ?? at;
      },
      /** last: what has not been sent in parts. */
      async finish(digest: string, last: Uint8Array, once: boolean): Promise<void> {
        const end = new URL(at, base);
        end.searchParams.set("digest", digest);
        const headers = { "content-type": "application/octet-stream" };
        const done = await send(repository, end.href, { method: "PUT", body: last as never, headers, once });
        if (done.status !== 201) await refuse(done, `the upload of "${digest}"`);
      },
    };
  }

  return {
    /** read: the blob from a byte on. onProgress: bytes taken. */
    async uploadBlob(
      repository: string,
      digest: string,
      size: number,
      read: (from: number, to: number) => Promise<Uint8Array>,
      onProgress: (bytes: number) => void,
    ): Promise<void> {
      const upload = await begin(repository);
      const inParts = size > CHUNK_BYTES;
      for (let from = 0; inParts && from < size; from += CHUNK_BYTES) {
        const to = Math.min(size, from + CHUNK_BYTES);
        await upload.part(from, await read(from, to));
        onProgress(to);
      }
      await upload.finish(digest, inParts ? new Uint8Array(0) : await read(0, size), inParts);
      onProgress(size);
    },
    /** A blob whose digest is only known at its end. */
    async putStream(repository: string, source: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
      const upload = await begin(repository);
      const hash = new Bun.CryptoHasher("sha256");
      let size = 0;
      let held: Uint8Array[] = [];
      let have = 0;
      const flush = async (): Promise<void> => {
        if (have) await upload.part(size, Buffer.concat(held));
        size += have;
        held = [];
        have = 0;
      };
      for await (const bytes of source) {
        hash.update(bytes as never);
        held.push(bytes.slice());
        have += bytes.length;
        if (have >= CHUNK_BYTES) await flush();
      }
      await flush();
      const digest = `sha256:${hash.digest("hex")}`;
      await upload.finish(digest, new Uint8Array(0), true);
      return { digest, size };
    },
  };
}
