/** The control plane's images: names in the log, bytes in the blob store. What both say of an image, and what of the store may go. */
import { HyperlaneError } from "#contract/errors.ts";
import { choosePlatform, ImageConfig, Index, isIndex, Manifest, MEDIA } from "#contract/oci/manifest.ts";
import { runConfigOf, type Image, type ImageDetail } from "#contract/resources/image.ts";
import type { EventData, State } from "#control/model/state.ts";
import type { Blobs } from "#oci/blobs.ts";
import { blobsOf, loadImage, sizeOfParts } from "#oci/transfer.ts";

export type StoredImage = Omit<EventData["v1.ImageStored"], "name">;
const CONFIG_TYPES: readonly string[] = [MEDIA.config, "application/vnd.docker.container.image.v1+json"];
const HERE = { os: "linux", architecture: "amd64" };

/** What a manifest or an index in the store is, as an event keeps it. */
export function describeTarget(blobs: Blobs, target: string): StoredImage {
  const digest = imageDigest(blobs, target);
  const none = { digest: target, target, rootfs: null, run: null, platform: null };
  if (digest === undefined) return { ...none, bytes: blobs.size(target) };
  const manifest = Manifest.parse(JSON.parse(blobs.read(digest).toString()));
  const bytes = blobs.size(digest) + sizeOfParts(manifest);
  if (!CONFIG_TYPES.includes(manifest.config.mediaType)) return { ...none, bytes };
  const parsed = ImageConfig.safeParse(JSON.parse(blobs.read(manifest.config.digest).toString()));
  if (!parsed.success || parsed.data.rootfs.diff_ids.length !== manifest.layers.length) return { ...none, bytes };
  const { os, architecture, rootfs } = parsed.data;
  return { digest, target, rootfs: chainId(rootfs.diff_ids), run: runConfigOf(parsed.data), platform: `${os}/${architecture}`, bytes };
}

/** Of an index, the manifest that machines here can be made from. undefined: there is none. */
function imageDigest(blobs: Blobs, target: string): string | undefined {
  const doc: unknown = JSON.parse(blobs.read(target).toString());
  if (!isIndex(doc)) return Manifest.safeParse(doc).success ? target : undefined;
  const chosen = choosePlatform(Index.parse(doc), HERE);
  return chosen && blobs.has(chosen.digest) ? chosen.digest : undefined;
}

/** OCI image-spec config.md, ChainID: names the file system that these layers make together. */
export function chainId(diffIds: readonly string[]): string {
  const sha = (text: string): string => `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
  const chain = diffIds.reduce<string | undefined>((above, diff) => (above === undefined ? diff : sha(`${above} ${diff}`)), undefined);
  return (chain ?? sha("")).slice("sha256:".length);
}

/** Every blob that something refers to. */
export function reachable(state: State, blobs: Blobs): Set<string> {
  const keep = new Set<string>();
  const visit = (digest: string): void => {
    if (keep.has(digest) || !blobs.has(digest)) return;
    keep.add(digest);
    for (const referrer of blobs.referrers(digest)) visit(referrer);
    const doc: unknown = JSON.parse(blobs.read(digest).toString());
    const index = isIndex(doc) ? Index.safeParse(doc) : undefined;
    for (const child of index?.data?.manifests ?? []) visit(child.digest);
    const manifest = Manifest.safeParse(doc);
    if (manifest.success) for (const blob of blobsOf(digest, manifest.data)) keep.add(blob);
  };
  for (const image of state.image.values()) for (const d of [image.target, image.digest]) if (d !== null) visit(d);
  for (const machine of state.machine.values()) if (machine.image) visit(machine.image.digest);
  return keep;
}

/** By name, or by a digest or the beginning of one, as Docker finds images. */
export function findImage(state: State, text: string, name: string | undefined): Image {
  const all = [...state.image.values()];
  const hex = text.replace(/^sha256:/, "");
  const found =
    all.find((i) => i.name === name) ??
    all.find((i) => i.id === text) ??
    (/^[a-f0-9]{6,64}$/.test(hex) ? all.find((i) => i.digest?.slice(7).startsWith(hex)) : undefined);
  if (found) return found;
  throw new HyperlaneError("NOT_FOUND", `There is no image "${name ?? text}".`, {
    hint: `\`vps image list\` shows all; \`vps image pull ${name ?? text}\` brings it in.`,
  });
}

export function detail(blobs: Blobs, image: Image): ImageDetail {
  if (image.digest === null || image.rootfs === null) return { ...image, manifest: null, config: null, layers: [], history: [] };
  const { manifest, config } = loadImage(blobs, image.digest, image.name);
  const sizes = manifest.layers.map((l) => l.size);
  const history = (config.history ?? []).map((h) => ({
    created: h.created ?? null,
    by: h.created_by ?? h.comment ?? "",
    bytes: h.empty_layer ? 0 : (sizes.shift() ?? 0),
  }));
  return { ...image, manifest, config, layers: manifest.layers.map((l) => ({ digest: l.digest, bytes: l.size })), history };
}
