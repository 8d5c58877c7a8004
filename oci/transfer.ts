/**
 * Images between a registry and the blob store. Blobs come in parallel, each once however many ask for it, and go on
 * where they stopped; an image counts as there when its manifest, its configuration and every layer are.
 */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import {
  choosePlatform,
  ImageConfig,
  Index,
  isIndex,
  Manifest,
  MANIFEST_MAX_BYTES,
  MEDIA,
  parsePlatform,
  type Descriptor,
} from "#contract/oci/manifest.ts";
import { formatReference, type Reference } from "#contract/oci/reference.ts";
import { digestOf, type Blobs } from "./blobs.ts";
import type { Registry } from "./client.ts";

/** One layer's way: bytes done of size. there: it need not be moved. */
export type Progress = { digest: string; size: number; done: number; state: "waiting" | "moving" | "there" | "done" };
export type OnProgress = (progress: Progress) => void;
/** digest: of the manifest. bytes: of manifest, configuration and layers as they travel. */
export type StoredImage = { digest: string; bytes: number; manifest: Manifest; config: ImageConfig };

const PARALLEL = 3;
const TRIES = 5;

export function createTransfers(blobs: Blobs) {
  const coming = new Map<string, { done: number; promise: Promise<void> }>();

  async function fetchBlob(registry: Registry, repository: string, d: Descriptor, on: OnProgress, signal?: AbortSignal): Promise<void> {
    const tell = (state: Progress["state"], done: number): void => on({ digest: d.digest, size: d.size, done, state });
    while (!blobs.has(d.digest)) {
      const other = coming.get(d.digest);
      if (other) {
        const timer = setInterval(() => tell("moving", other.done), 200);
        // Should the one who fetches it give up, it is ours to fetch.
        await other.promise.catch(() => {}).finally(() => clearInterval(timer));
        signal?.throwIfAborted();
        continue;
      }
      const mine = { done: 0, promise: Promise.resolve() };
      coming.set(d.digest, mine);
      mine.promise = receive(registry, repository, d, (done) => tell("moving", (mine.done = done))).finally(() => coming.delete(d.digest));
      await mine.promise;
      return tell("done", d.size);
    }
    blobs.touch(d.digest);
    tell("there", d.size);
  }

  async function receive(registry: Registry, repository: string, d: Descriptor, on: (done: number) => void): Promise<void> {
    const name = d.digest.replace(":", "-");
    for (let attempt = 1; ; attempt++) {
      const ingest = blobs.ingest(name);
      const before = ingest.size;
      try {
        if (ingest.size < d.size) {
          const { from, body } = await registry.blob(repository, d.digest, ingest.size);
          if (from !== ingest.size) throw Object.assign(new Error("no ranges"), { restart: true });
          for await (const bytes of body as unknown as AsyncIterable<Uint8Array>) {
            if (ingest.size + bytes.length > d.size) throw Object.assign(new Error("too long"), { restart: true });
            ingest.write(bytes);
            on(ingest.size);
          }
        }
        if (ingest.size === d.size) return void (await ingest.commit(d.digest));
        if (ingest.size > d.size) throw Object.assign(new Error("too long"), { restart: true });
        throw new HyperlaneError("UNAVAILABLE", `${registry.host} ended ${d.digest} after ${ingest.size} of ${d.size} bytes.`);
      } catch (thrown) {
        ingest.close();
        const { restart, code, name: kind } = thrown as { restart?: boolean; code?: string; name?: string };
        if (restart) ingest.discard();
        if (code === "ENOSPC") throw new HyperlaneError("NO_SPACE", "The disk is full: the image could not be kept.", { cause: thrown });
        const lasting = kind === "AbortError" || (thrown instanceof HyperlaneError && thrown.code !== "UNAVAILABLE");
        // A line that brings something each time may break as often as it likes.
        if (ingest.size > before && !restart) attempt = 1;
        if (lasting || attempt >= TRIES)
          throw restart ? new HyperlaneError("CORRUPT", `${registry.host} sends a wrong ${d.digest}.`) : thrown;
        await Bun.sleep(300 * 2 ** attempt);
      }
    }
  }

  /** The manifest for a platform: of an index, the one that fits. */
  async function resolve(registry: Registry, reference: Reference, platform: string): Promise<{ digest: string; bytes: Buffer }> {
    const name = formatReference(reference);
    const { repository } = reference;
    const top = await registry.manifest(repository, reference.digest ?? reference.tag!);
    demandDigest(top.bytes, reference.digest, name);
    const doc = parseJson(top.bytes, name);
    if (!isIndex(doc, top.mediaType)) return { digest: digestOf(top.bytes), bytes: top.bytes };
    const wanted = parsePlatform(platform);
    const chosen = wanted && choosePlatform(parseAs(Index, doc, name), wanted);
    if (!chosen) {
      const there = parseAs(Index, doc, name)
        .manifests.flatMap((m) => (m.platform && m.platform.os !== "unknown" ? [`${m.platform.os}/${m.platform.architecture}`] : []))
        .join(", ");
      throw new HyperlaneError("NOT_FOUND", `"${name}" is not made for ${platform}.`, {
        hint: `It is made for: ${there || "nothing named"}.`,
      });
    }
    const { bytes } = await registry.manifest(repository, chosen.digest);
    demandDigest(bytes, chosen.digest, name);
    return { digest: chosen.digest, bytes };
  }

  return {
    blobs,
    /** What is stored under a manifest's digest. */
    load: (digest: string, name: string): StoredImage => loadImage(blobs, digest, name),
    async pull(registry: Registry, reference: Reference, platform: string, on: OnProgress, signal?: AbortSignal): Promise<StoredImage> {
      const name = formatReference(reference);
      const { digest, bytes } = await resolve(registry, reference, platform);
      const manifest = parseAs(Manifest, parseJson(bytes, name), name);
      const layers = [...new Map(manifest.layers.map((l) => [l.digest, l])).values()];
      for (const l of layers) on({ digest: l.digest, size: l.size, done: 0, state: "waiting" });
      if (manifest.config.size > MANIFEST_MAX_BYTES) throw notAnImage(name, "its configuration is larger than 4 MiB");
      await fetchBlob(registry, reference.repository, manifest.config, () => {}, signal);
      await inParallel(layers, PARALLEL, (layer) => fetchBlob(registry, reference.repository, layer, on, signal));
      blobs.put(bytes);
      const image = loadImage(blobs, digest, name);
      const made = `${image.config.os}/${image.config.architecture}`;
      if (image.config.os && !platform.startsWith(made))
        throw new HyperlaneError("UNSUPPORTED", `"${name}" is made for ${made}, not for ${platform}.`, { hint: "Choose another tag." });
      return image;
    },
    async push(registry: Registry, reference: Reference, digest: string, on: OnProgress): Promise<void> {
      const { manifest } = loadImage(blobs, digest, formatReference(reference));
      const { repository } = reference;
      const parts = [...new Map([...manifest.layers, manifest.config].map((l) => [l.digest, l])).values()];
      for (const d of parts) on({ digest: d.digest, size: d.size, done: 0, state: "waiting" });
      await inParallel(parts, PARALLEL, async (d) => {
        const tell = (state: Progress["state"], done: number): void => on({ digest: d.digest, size: d.size, done, state });
        if (await registry.hasBlob(repository, d.digest)) return tell("there", d.size);
        const file = Bun.file(blobs.path(d.digest));
        const read = async (from: number, to: number) => new Uint8Array(await file.slice(from, to).arrayBuffer());
        await registry.uploadBlob(repository, d.digest, d.size, read, (done) => tell("moving", done));
        tell("done", d.size);
      });
      const type = typeof manifest.mediaType === "string" ? manifest.mediaType : MEDIA.manifest;
      await registry.putManifest(repository, reference.tag ?? digest, blobs.read(digest), type);
    },
  };
}

/** Every blob that an image needs, its manifest included. */
export function blobsOf(digest: string, manifest: Manifest): string[] {
  return [digest, manifest.config.digest, ...manifest.layers.map((l) => l.digest)];
}

/** Configuration and layers, as they travel. */
export function sizeOfParts({ config, layers }: Manifest): number {
  return config.size + layers.reduce((n, l) => n + l.size, 0);
}

export function loadImage(blobs: Blobs, digest: string, name: string): StoredImage {
  const bytes = blobs.read(digest);
  const manifest = parseAs(Manifest, parseJson(bytes, name), name);
  const missing = manifest.layers.find((l) => !blobs.has(l.digest));
  if (missing)
    throw new HyperlaneError("NOT_FOUND", `The layer ${missing.digest} of "${name}" is missing.`, { hint: `vps image pull ${name}` });
  const config = parseAs(ImageConfig, parseJson(blobs.read(manifest.config.digest), name), name);
  if (config.rootfs.diff_ids.length !== manifest.layers.length)
    throw notAnImage(name, "its configuration and its manifest differ in layers");
  return { digest, bytes: bytes.length + sizeOfParts(manifest), manifest, config };
}

function parseAs<T>(
  schema: {
    safeParse(
      value: unknown,
    ): { success: true; data: T } | { success: false; error: { issues: { path: PropertyKey[]; message: string }[] } };
  },
  doc: unknown,
  name: string,
): T {
  const parsed = schema.safeParse(doc);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw notAnImage(name, `${issue.path.join(".")} ${issue.message}`);
}

function notAnImage(name: string, why: string): HyperlaneError {
  return new HyperlaneError("INVALID", `"${name}" is not an image that machines can be made from: ${why}.`, {
    hint: `The registry holds other things too (charts, signatures): check what ${familiarOf(name)} is.`,
  });
}

function familiarOf(name: string): string {
  return name.replace(/@.*/, "");
}

function parseJson(bytes: Buffer, name: string): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw new HyperlaneError("INVALID", `The manifest of "${name}" is not JSON.`, { cause });
  }
}

function demandDigest(bytes: Buffer, wanted: string | null, name: string): void {
  if (wanted !== null && digestOf(bytes) !== wanted)
    throw new HyperlaneError("CORRUPT", `The manifest of "${name}" is not what its digest says.`, {
      hint: "Do not trust this registry or the line to it.",
    });
}

/** The first failure is thrown once all that was begun has ended. */
async function inParallel<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const todo = [...items];
  let failed: unknown;
  const worker = async (): Promise<void> => {
    for (let item = todo.shift(); item !== undefined && failed === undefined; item = todo.shift())
      await work(item).catch((thrown) => void (failed ??= thrown));
  };
  await Promise.all(Array.from({ length: width }, worker));
  if (failed !== undefined) throw toHyperlaneError(failed);
}

/** Where a registry is reached: its mirrors first. Docker Hub answers under another name than it is called by. */
export function endpointsOf(
  registry: string,
  { mirrors, insecure }: { mirrors: Readonly<Record<string, readonly string[]>>; insecure: readonly string[] },
): { bases: string[]; mirror: boolean }[] {
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/.test(host);
  const bases = loopback || insecure.includes(registry) ? [`https://${host}`, `http://${host}`] : [`https://${host}`];
  return [...(mirrors[registry] ?? []).map((m) => ({ bases: [m], mirror: true })), { bases, mirror: false }];
}
