/** Manifests and image configurations, of the OCI image specification 1.1 and Docker's schema 2, which differ in names only. */
import { z } from "zod";
import { DIGEST } from "./reference.ts";

export const MEDIA = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
} as const;
export const MANIFEST_TYPES: readonly string[] = [MEDIA.manifest, MEDIA.dockerManifest];
export const INDEX_TYPES: readonly string[] = [MEDIA.index, MEDIA.dockerList];

/** By what it says that it is, else by what it came as, else by its shape. */
export function isIndex(doc: unknown, cameAs = ""): boolean {
  const { mediaType, manifests, layers } = (doc ?? {}) as { mediaType?: unknown; manifests?: unknown; layers?: unknown };
  for (const type of [mediaType, cameAs]) {
    if (INDEX_TYPES.includes(type as string)) return true;
    if (MANIFEST_TYPES.includes(type as string)) return false;
  }
  return Array.isArray(manifests) && layers === undefined;
}
/** Larger manifests and configurations are refused, as registries do. */
export const MANIFEST_MAX_BYTES = 4 * 1024 * 1024;

const Digest = z.string().regex(DIGEST, "must be a sha256 digest");
export const Descriptor = z.looseObject({ mediaType: z.string().default(""), digest: Digest, size: z.int().min(0) });
export type Descriptor = z.infer<typeof Descriptor>;

export const Platform = z.looseObject({ architecture: z.string(), os: z.string(), variant: z.string().optional() });
export const Index = z.looseObject({ manifests: z.array(Descriptor.extend({ platform: Platform.optional() })) });
export type Index = z.infer<typeof Index>;

export const Manifest = z.looseObject({
  mediaType: z.string().optional(),
  config: Descriptor,
  layers: z.array(Descriptor).max(500),
});
export type Manifest = z.infer<typeof Manifest>;

const words = z.array(z.string()).nullish();
const flags = z.record(z.string(), z.unknown()).nullish();
/** Durations in nanoseconds. test: ["NONE"], ["CMD", ...] or ["CMD-SHELL", line]. */
export const Healthcheck = z.looseObject({
  Test: words,
  Interval: z.number().nullish(),
  Timeout: z.number().nullish(),
  StartPeriod: z.number().nullish(),
  Retries: z.number().nullish(),
});

/** Fields we act on; others are kept by digest. */
export const ImageConfig = z.looseObject({
  architecture: z.string().default(""),
  os: z.string().default(""),
  created: z.string().nullish(),
  config: z
    .looseObject({
      User: z.string().nullish(),
      Env: words,
      Entrypoint: words,
      Cmd: words,
      WorkingDir: z.string().nullish(),
      StopSignal: z.string().nullish(),
      ExposedPorts: flags,
      Volumes: flags,
      Labels: z.record(z.string(), z.string()).nullish(),
      Healthcheck: Healthcheck.nullish(),
    })
    .nullish(),
  rootfs: z.looseObject({ diff_ids: z.array(Digest) }),
  history: z
    .array(
      z.looseObject({
        created: z.string().nullish(),
        created_by: z.string().nullish(),
        comment: z.string().nullish(),
        empty_layer: z.boolean().nullish(),
      }),
    )
    .nullish(),
});
export type ImageConfig = z.infer<typeof ImageConfig>;

/** The entry of an index for this platform, as containerd would choose it: exact variant first, then any. */
export function choosePlatform(
  index: Index,
  wanted: { os: string; architecture: string; variant?: string | undefined },
): Descriptor | undefined {
  const fits = index.manifests.filter(
    (m) =>
      m.platform?.os === wanted.os &&
      m.platform.architecture === wanted.architecture &&
      !m.annotations?.["vnd.docker.reference.type" as never],
  );
  return fits.find((m) => m.platform?.variant === wanted.variant) ?? fits[0];
}

/** What is taken of an index where none is named. */
export const DEFAULT_PLATFORM = "linux/amd64";

/** "linux/amd64" or "linux/arm64/v8". */
export function parsePlatform(text: string): { os: string; architecture: string; variant?: string } | undefined {
  const match = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9]+))?$/.exec(text);
  return match ? { os: match[1]!, architecture: match[2]!, ...(match[3] && { variant: match[3] }) } : undefined;
}
