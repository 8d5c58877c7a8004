/**
 * Images as one tar file: read in the form of `docker save` (manifest.json) and of an OCI layout (index.json), written
 * in both at once, as Docker does since 25. Goes straight to and from a registry; nothing is unpacked on disk.
 */
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { extract, pack, type Header } from "tar-stream";
import { HyperlaneError } from "#contract/errors.ts";
import { Index, Manifest, MANIFEST_MAX_BYTES, MEDIA, type Descriptor } from "#contract/oci/manifest.ts";
import { familiarRepository, parseReference, type Reference } from "#contract/oci/reference.ts";
import { through } from "./through.ts";
import { digestOf } from "./blobs.ts";
import type { Registry } from "./client.ts";

const REF_NAME = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME = "io.containerd.image.name";
type Stored = { digest: string; size: number };
type DockerManifest = { Config: string; RepoTags: string[] | null; Layers: string[] }[];

/** Takes every image of an archive in; their names. name: for one that has none of its own. */
export async function loadArchive(registry: Registry, source: AsyncIterable<Uint8Array>, name?: string): Promise<string[]> {
  const small = new Map<string, Buffer>();
  const large = new Map<string, { stored: Stored; diffId: string; packed: boolean }>();
  const links = new Map<string, string>();
  const repository = `load-${crypto.randomUUID().slice(0, 8)}`;
  await eachEntry(source, async (header, body) => {
    const path = header.name.replace(/^\.\//, "");
    if (header.type === "symlink" || header.type === "link") links.set(path, resolvePath(path, header.linkname ?? "", header.type));
    if (header.type !== "file") return;
    const { text, rest } = await peek(body, header.size ?? 0);
    if (text) small.set(path, text);
    // A blob of a layout is stored as it is, under the digest it has; a layer of the older form is packed on the way.
    else large.set(path, await storeLayer(registry, repository, rest, !path.startsWith("blobs/")));
  });
  const find = <T>(map: Map<string, T>, path: string): T | undefined => map.get(path) ?? map.get(links.get(path) ?? "");
  const index = small.get("index.json");
  if (index) return await loadLayout(registry, small, Index.parse(JSON.parse(index.toString())), name);
  const docker = small.get("manifest.json");
  if (!docker)
    throw new HyperlaneError("INVALID", "This is no image archive: it holds neither index.json nor manifest.json.", {
      hint: "`docker save`, `skopeo copy` and `vps image save` make one; `vps image import` takes a plain root file system.",
    });
  const names: string[] = [];
  for (const image of JSON.parse(docker.toString()) as DockerManifest) {
    const config = find(small, image.Config);
    if (!config) throw new HyperlaneError("INVALID", `The archive lacks "${image.Config}".`);
    const layers = await Promise.all(
      image.Layers.map(async (path) => layerOf(find(large, path) ?? (await storeSmall(registry, repository, find(small, path), path)))),
    );
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: await putBlob(registry, repository, config, MEDIA.config),
      layers,
    };
    for (const tag of image.RepoTags ?? [requireName(name)])
      names.push(await putImage(registry, tag, Buffer.from(JSON.stringify(manifest)), MEDIA.manifest));
  }
  return names;
}

async function loadLayout(registry: Registry, small: Map<string, Buffer>, index: Index, name: string | undefined): Promise<string[]> {
  const names: string[] = [];
  const blob = (digest: string): Buffer => {
    const bytes = small.get(`blobs/sha256/${digest.slice(7)}`);
    if (!bytes || digestOf(bytes) !== digest)
      throw new HyperlaneError("CORRUPT", `The archive lacks ${digest}, or holds something else in its place.`);
    return bytes;
  };
  for (const entry of index.manifests) {
    const annotations = (entry.annotations ?? {}) as Record<string, string>;
    const given = annotations[CONTAINERD_NAME] ?? annotations[REF_NAME];
    // A bare tag, as skopeo and umoci write it, is no name yet.
    const own = given !== undefined && /[/:]/.test(given) ? given : undefined;
    const full = own ?? (name === undefined ? undefined : withTag(name, given));
    const reference = parse(requireName(full));
    const at = familiarRepository(reference);
    const put = async (d: Descriptor, tag: string): Promise<void> => {
      const bytes = blob(d.digest);
      const doc = JSON.parse(bytes.toString()) as {
        manifests?: Descriptor[];
        config?: Descriptor;
        layers?: Descriptor[];
        mediaType?: string;
      };
      for (const child of doc.manifests ?? []) if (small.has(`blobs/sha256/${child.digest.slice(7)}`)) await put(child, child.digest);
      for (const part of [doc.config, ...(doc.layers ?? [])])
        if (part) await ensureBlob(registry, at, part, small.get(`blobs/sha256/${part.digest.slice(7)}`));
      await registry.putManifest(at, tag, bytes, doc.mediaType ?? (doc.manifests ? MEDIA.index : MEDIA.manifest));
    };
    await put(entry, reference.tag ?? "latest");
    names.push(`${at}:${reference.tag ?? "latest"}`);
  }
  return names;
}

/** A root file system's tar archive, plain or packed, as an image of one layer. */
export async function importRootfs(registry: Registry, source: AsyncIterable<Uint8Array>, name: string, config: object): Promise<string> {
  const reference = parse(name);
  const repository = familiarRepository(reference);
  const stored = await storeLayer(registry, repository, unpacked(source), true);
  const created = new Date().toISOString();
  const image = {
    created,
    architecture: "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [stored.diffId] },
    history: [{ created, created_by: "vps image import" }],
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: await putBlob(registry, repository, Buffer.from(JSON.stringify(image)), MEDIA.config),
    layers: [layerOf(stored)],
  };
  return await putImage(registry, name, Buffer.from(JSON.stringify(manifest)), MEDIA.manifest);
}

/** Writes the images of these names. */
export function saveArchive(registry: Registry, names: readonly string[]): AsyncIterable<Uint8Array> {
  const out = pack();
  const write = async (): Promise<void> => {
    const entries: { descriptor: Descriptor; name: string; manifest: Manifest; repository: string }[] = [];
    const documents = new Map<string, Buffer>();
    for (const name of names) {
      const reference = parse(name);
      const repository = familiarRepository(reference);
      const { bytes, mediaType } = await registry.manifest(repository, reference.digest ?? reference.tag!);
      const digest = digestOf(bytes);
      documents.set(digest, bytes);
      entries.push({
        descriptor: { mediaType, digest, size: bytes.length, annotations: { [CONTAINERD_NAME]: name, [REF_NAME]: name } },
        name,
        manifest: Manifest.parse(JSON.parse(bytes.toString())),
        repository,
      });
    }
    const put = (path: string, bytes: Buffer): void => void out.entry({ name: path, mode: 0o644, mtime: new Date(0) }, bytes);
    put("oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })));
    put(
      "index.json",
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: entries.map((e) => e.descriptor) })),
    );
    put(
      "manifest.json",
      Buffer.from(
        JSON.stringify(
          entries.map((e) => ({
            Config: pathOf(e.manifest.config.digest),
            RepoTags: [e.name],
            Layers: e.manifest.layers.map((l) => pathOf(l.digest)),
          })),
        ),
      ),
    );
    for (const [digest, bytes] of documents) put(pathOf(digest), bytes);
    const done = new Set<string>();
    for (const { manifest, repository } of entries)
      for (const part of [manifest.config, ...manifest.layers]) {
        if (done.has(part.digest)) continue;
        done.add(part.digest);
        const { body } = await registry.blob(repository, part.digest, 0);
        const entry = out.entry({ name: pathOf(part.digest), size: part.size, mode: 0o644, mtime: new Date(0) });
        await pipeline(Readable.from(body as unknown as AsyncIterable<Uint8Array>), entry as unknown as Writable);
      }
    out.finalize();
  };
  write().catch((thrown) => out.destroy(thrown as Error));
  return out as unknown as AsyncIterable<Uint8Array>;
}

function pathOf(digest: string): string {
  return `blobs/sha256/${digest.slice(7)}`;
}

async function eachEntry(
  source: AsyncIterable<Uint8Array>,
  on: (header: Header, body: AsyncIterable<Buffer>) => Promise<void>,
): Promise<void> {
  const tar = extract();
  const buffers = async function* () {
    for await (const bytes of unpacked(source)) yield Buffer.from(bytes);
  };
  const feed = Readable.from(buffers()).pipe(tar);
  feed.on("error", () => {});
  try {
    for await (const entry of tar) {
      await on(entry.header, entry as AsyncIterable<Buffer>);
      entry.resume();
    }
  } catch (thrown) {
    if (thrown instanceof HyperlaneError) throw thrown;
    throw new HyperlaneError("INVALID", `The archive cannot be read: ${(thrown as Error).message}`, { cause: thrown });
  }
}

/** gzip is seen by its first bytes. */
async function* unpacked(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const pieces = source[Symbol.asyncIterator]();
  const first = await pieces.next();
  if (first.done) return;
  const all = (async function* () {
    yield first.value;
    yield* { [Symbol.asyncIterator]: () => pieces };
  })();
  if (first.value[0] !== 0x1f || first.value[1] !== 0x8b) return yield* all;
  yield* through(all, createGunzip());
}

/** JSON documents are kept, everything else is passed on. */
async function peek(body: AsyncIterable<Buffer>, size: number): Promise<{ text?: Buffer; rest: AsyncIterable<Buffer> }> {
  const pieces = body[Symbol.asyncIterator]();
  const first = await pieces.next();
  const all = (async function* () {
    if (!first.done) yield first.value as Buffer;
    yield* { [Symbol.asyncIterator]: () => pieces };
  })();
  if (size > MANIFEST_MAX_BYTES || first.done || !/^\s*[{[]/.test((first.value as Buffer).toString("latin1", 0, 16))) return { rest: all };
  const parts: Buffer[] = [];
  for await (const bytes of all) parts.push(bytes);
  return { text: Buffer.concat(parts), rest: all };
}

async function storeLayer(registry: Registry, repository: string, body: AsyncIterable<Uint8Array>, gzip: boolean) {
  const hash = new Bun.CryptoHasher("sha256");
  const hashed = (async function* () {
    for await (const bytes of body) {
      hash.update(bytes as never);
      yield bytes;
    }
  })();
  const stored = await registry.putStream(repository, gzip ? through(hashed, createGzip({ level: 4 })) : hashed);
  return { stored, diffId: `sha256:${hash.digest("hex")}`, packed: gzip };
}

async function storeSmall(registry: Registry, repository: string, bytes: Buffer | undefined, path: string) {
  if (!bytes) throw new HyperlaneError("INVALID", `The archive lacks "${path}".`);
  return await storeLayer(registry, repository, Readable.from([bytes]), true);
}

function layerOf({ stored }: { stored: Stored }): Descriptor {
  return { mediaType: MEDIA.layerGzip, ...stored };
}

async function putBlob(registry: Registry, repository: string, bytes: Buffer, mediaType: string): Promise<Descriptor> {
  return { mediaType, ...(await registry.putStream(repository, Readable.from([bytes]))) };
}

async function ensureBlob(registry: Registry, repository: string, d: Descriptor, bytes: Buffer | undefined): Promise<void> {
  if (await registry.hasBlob(repository, d.digest)) return;
  if (!bytes) throw new HyperlaneError("CORRUPT", `The archive lacks ${d.digest}.`);
  await registry.putStream(repository, Readable.from([bytes]));
}

async function putImage(registry: Registry, name: string, manifest: Buffer, mediaType: string): Promise<string> {
  const reference = parse(name);
  const repository = familiarRepository(reference);
  await registry.putManifest(repository, reference.tag ?? "latest", manifest, mediaType);
  return `${repository}:${reference.tag ?? "latest"}`;
}

function parse(name: string): Reference {
  const reference = parseReference(name);
  if (!reference)
    throw new HyperlaneError("INVALID", `"${name}" is no image name.`, { hint: 'Like "app", "app:v1" or "ghcr.io/owner/app:v1".' });
  return reference;
}

function requireName(name: string | undefined): string {
  if (name !== undefined) return name;
  throw new HyperlaneError("INVALID", "The archive's image has no name.", { hint: "Give it one: vps image load -i FILE --name app:v1" });
}

function withTag(name: string, tag: string | undefined): string {
  return tag === undefined || /:[^/]*$/.test(name) ? name : `${name}:${tag}`;
}

function resolvePath(path: string, link: string, type: string): string {
  const parts = type === "link" ? [] : path.split("/").slice(0, -1);
  for (const part of link.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}
