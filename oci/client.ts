/**
 * A client of the OCI distribution specification 1.1. One object per registry and caller: it holds the bearer tokens
 * it was given. Nothing it returns is verified; whoever keeps bytes verifies them (blobs.ts).
 */
import { HyperlaneError } from "#contract/errors.ts";
import { INDEX_TYPES, MANIFEST_MAX_BYTES, MANIFEST_TYPES } from "#contract/oci/manifest.ts";
import { createSession, type RegistryOptions } from "./session.ts";
import { createUploads } from "./upload.ts";

export type Registry = ReturnType<typeof createRegistry>;

export function createRegistry(options: RegistryOptions) {
  const session = createSession(options);
  const { host, send, refuse } = session;
  return {
    host,
    /** reference: a tag or a digest. */
    async manifest(repository: string, reference: string): Promise<{ bytes: Buffer; mediaType: string }> {
      const response = await send(repository, `/v2/${repository}/manifests/${reference}`, {
        headers: { accept: [...MANIFEST_TYPES, ...INDEX_TYPES].join(", ") },
      });
      if (!response.ok) return await refuse(response, `manifest "${repository}:${reference}"`);
      if (Number(response.headers.get("content-length")) > MANIFEST_MAX_BYTES)
        throw new HyperlaneError("TOO_LARGE", `The manifest of "${repository}" is larger than 4 MiB.`);
      const bytes = Buffer.from(await response.arrayBuffer());
      if (bytes.length > MANIFEST_MAX_BYTES) throw new HyperlaneError("TOO_LARGE", `The manifest of "${repository}" is larger than 4 MiB.`);
      return { bytes, mediaType: (response.headers.get("content-type") ?? "").split(";")[0]!.trim() };
    },
    /** From a byte on; `from` in the answer is where it really begins: 0 from a registry without ranges. */
    async blob(repository: string, digest: string, from: number): Promise<{ from: number; body: ReadableStream<Uint8Array> }> {
      const response = await send(repository, `/v2/${repository}/blobs/${digest}`, { headers: from ? { range: `bytes=${from}-` } : {} });
      if (!response.ok || !response.body) return await refuse(response, `blob "${digest}"`);
      return { from: response.status === 206 ? from : 0, body: response.body };
    },
    async hasBlob(repository: string, digest: string): Promise<boolean> {
      const response = await send(repository, `/v2/${repository}/blobs/${digest}`, { method: "HEAD" });
      return response.status === 200;
    },
    ...createUploads(session),
    async putManifest(repository: string, reference: string, bytes: Buffer, mediaType: string): Promise<void> {
      const response = await send(repository, `/v2/${repository}/manifests/${reference}`, {
        method: "PUT",
        body: bytes as never,
        headers: { "content-type": mediaType },
      });
      if (response.status !== 201) return await refuse(response, `the manifest "${repository}:${reference}"`);
    },
  };
}
