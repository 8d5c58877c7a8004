/** Images: an OCI image by its name, and what a machine keeps of the one it was made from. */
import { z } from "zod";
import type { Healthcheck, ImageConfig } from "../oci/manifest.ts";
import { familiarName, familiarRepository, parseReference } from "../oci/reference.ts";

/** An image's name as users write it, in its familiar form: `docker.io/library/nginx` becomes `nginx:latest`. */
export const ImageRef = z
  .string()
  .min(1, "must not be empty")
  .max(400, "must be at most 400 characters")
  .transform((text, ctx) => {
    const name = imageName(text);
    if (name !== undefined) return name;
    ctx.addIssue('must be an image like "nginx", "debian:12" or "ghcr.io/owner/app:v1"');
    return z.NEVER;
  });

/** What an image is listed under. By digest alone where one was given, as Docker does. */
export function imageName(text: string): string | undefined {
  const reference = parseReference(text);
  if (!reference) return undefined;
  return reference.digest === null ? familiarName(reference) : `${familiarRepository(reference)}@${reference.digest}`;
}

/** How a workload's health is found out. argv: what is run in the machine; it is well while that ends with code 0. */
export const Health = z.object({
  argv: z.array(z.string()).min(1),
  intervalMs: z.int().min(1),
  timeoutMs: z.int().min(1),
  /** Failures do not count while it starts. */
  startPeriodMs: z.int().min(0),
  /** Failures in a row that make it unhealthy. */
  retries: z.int().min(1),
});
export type Health = z.infer<typeof Health>;

/** How the image says it is run: `config` of the OCI image configuration, with nothing left out. */
export const RunConfig = z.object({
  entrypoint: z.array(z.string()),
  cmd: z.array(z.string()),
  env: z.array(z.string()),
  user: z.string(),
  workdir: z.string(),
  stopSignal: z.string(),
  ports: z.array(z.string()),
  volumes: z.array(z.string()),
  health: Health.nullable(),
});
export type RunConfig = z.infer<typeof RunConfig>;

export function runConfigOf({ config }: ImageConfig): RunConfig {
  return {
    entrypoint: config?.Entrypoint ?? [],
    cmd: config?.Cmd ?? [],
    env: config?.Env ?? [],
    user: config?.User ?? "",
    workdir: config?.WorkingDir ?? "",
    stopSignal: config?.StopSignal ?? "",
    ports: Object.keys(config?.ExposedPorts ?? {}),
    volumes: Object.keys(config?.Volumes ?? {}),
    health: healthOf(config?.Healthcheck ?? null),
  };
}

const HEALTH_DEFAULTS = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, retries: 3 };

/** Docker's HEALTHCHECK: durations in nanoseconds, 0 for the default. */
function healthOf(check: z.infer<typeof Healthcheck> | null): Health | null {
  const argv = healthArgv(check?.Test ?? []);
  if (!check || !argv) return null;
  const ms = (ns: number | null | undefined, otherwise: number): number => Math.round((ns ?? 0) / 1e6) || otherwise;
  return {
    argv,
    intervalMs: ms(check.Interval, HEALTH_DEFAULTS.intervalMs),
    timeoutMs: ms(check.Timeout, HEALTH_DEFAULTS.timeoutMs),
    startPeriodMs: ms(check.StartPeriod, HEALTH_DEFAULTS.startPeriodMs),
    retries: check.Retries || HEALTH_DEFAULTS.retries,
  };
}

/** ["CMD", ...], ["CMD-SHELL", line] or ["NONE"]. */
function healthArgv([kind, ...words]: readonly string[]): string[] | null {
  if (kind === "CMD" && words.length) return words;
  return kind === "CMD-SHELL" && words[0] ? ["/bin/sh", "-c", words[0]] : null;
}

/** What is asked for, over what the image says. */
export const HealthChange = z.strictObject({
  /** A line for the shell; null: as the image has it. */
  command: z.string().min(1).max(16_384).nullable().default(null),
  /** No check, whatever the image says. */
  off: z.boolean().default(false),
  intervalMs: z.int().min(1).optional(),
  timeoutMs: z.int().min(1).optional(),
  startPeriodMs: z.int().min(0).optional(),
  retries: z.int().min(1).max(1000).optional(),
});
export type HealthChange = z.infer<typeof HealthChange>;

export function changedHealth(image: Health | null, change: HealthChange | null): Health | null {
  if (change?.off) return null;
  const argv = change?.command ? ["/bin/sh", "-c", change.command] : image?.argv;
  if (!argv) return null;
  const { intervalMs, timeoutMs, startPeriodMs, retries } = { ...HEALTH_DEFAULTS, ...image, ...change };
  return { argv, intervalMs, timeoutMs, startPeriodMs, retries };
}

/** A machine keeps the image that it was asked for with, whatever its name comes to mean. rootfs: names the file system made from its layers. */
export const MachineImage = z.object({ digest: z.string(), rootfs: z.string(), run: RunConfig });
export type MachineImage = z.infer<typeof MachineImage>;

/**
 * digest: of its manifest. target: what its name stands for in the registry; the manifest, or an index that leads to it.
 * bytes: as it travels. rootfs and run: null for what is no image of a file system (charts, signatures).
 */
export const Image = z.object({
  id: z.string(),
  name: z.string(),
  state: z.enum(["creating", "ready", "failed"]),
  digest: z.string().nullable(),
  target: z.string().nullable(),
  rootfs: z.string().nullable(),
  run: RunConfig.nullable(),
  platform: z.string().nullable(),
  bytes: z.number(),
  /** The machine it is made from; null for one that was pulled or pushed. */
  from: z.string().nullable(),
  reason: z.string().nullable(),
  createdAt: z.int(),
});
export type Image = z.infer<typeof Image>;

/** The parts of an image, for those who look closer. size: compressed bytes; null for a step without a layer. */
export const ImageDetail = Image.extend({
  manifest: z.unknown(),
  config: z.unknown(),
  layers: z.array(z.object({ digest: z.string(), bytes: z.number() })),
  history: z.array(z.object({ created: z.string().nullable(), by: z.string(), bytes: z.number() })),
});
export type ImageDetail = z.infer<typeof ImageDetail>;

export const ImageCreate = z.strictObject({ name: ImageRef, from: z.string().min(1).max(64) });
