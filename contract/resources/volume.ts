/** Volumes: disks that outlive the machines they are mounted in; and mounts, which say what is where in a machine. */
import { z } from "zod";
import { Labels, Name } from "./name.ts";

/** Passed on to the guest's kernel among words of its command line, hence no spaces, commas or quotes. */
const MOUNT_PATH = /^(?:\/[A-Za-z0-9_.@+=:~-]+)+$/;
const KERNELS = /^\/(proc|sys|dev)(\/|$)/;
export const MOUNTS_MAX = 12;
/** The kernel's command line has 2048 characters, of which others take their part. */
const PATHS_MAX = 1200;

/**
 * What is at `path` in a machine: a volume, by its name, or a folder of the node, which an operator must have allowed.
 * readonly: a volume may be mounted by many machines so, otherwise by one; a folder is, unless it says otherwise.
 */
export const Mount = z
  .strictObject({
    volume: Name.nullable().default(null),
    folder: z
      .string()
      .max(4000)
      .regex(/^\/[^\0]*$/, "must be an absolute path")
      .nullable()
      .default(null),
    path: z
      .string()
      .max(200, "must be at most 200 characters")
      .regex(MOUNT_PATH, "must be an absolute path of letters, digits and . _ @ + = : ~ - , and not /")
      .refine((path) => !path.split("/").includes("..") && !path.split("/").includes("."), "must not hold . or ..")
      .refine((path) => !KERNELS.test(path), "must not be below /proc, /sys or /dev"),
    readonly: z.boolean().optional(),
  })
  .refine((m) => (m.volume === null) !== (m.folder === null), 'must have either "volume" or "folder"')
  .transform((m) => ({ ...m, readonly: m.readonly ?? m.folder !== null }));
export type Mount = z.infer<typeof Mount>;

export const Mounts = z
  .array(Mount)
  .max(MOUNTS_MAX, `must be at most ${MOUNTS_MAX} mounts`)
  .refine(
    (mounts) => mounts.reduce((n, m) => n + m.path.length + 3, 0) < PATHS_MAX,
    `must have paths of less than ${PATHS_MAX} characters together`,
  )
  .refine((mounts) => new Set(mounts.map((m) => m.path)).size === mounts.length, "must not mount two things at one path")
  .refine((mounts) => new Set(mounts.map((m) => m.volume ?? m)).size === mounts.length, "must not mount one volume twice");

/** By name: where links lead is for the node to look at. */
export function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some((f) => path === f || path.startsWith(f === "/" ? f : `${f}/`));
}

const SnapshotSeen = z.object({ state: z.enum(["ready", "failed"]), bytes: z.number(), reason: z.string().nullable() });
export const SnapshotsSeen = z.record(z.string(), SnapshotSeen);

/** What an agent last saw of a volume. bytes: what it takes on the node. */
export const VolumeObserved = z.object({
  state: z.enum(["ready", "failed", "absent"]),
  revision: z.int(),
  sizeMib: z.int(),
  bytes: z.number(),
  reason: z.string().nullable(),
  snapshots: SnapshotsSeen,
  restoredEpoch: z.int(),
});
export type VolumeObserved = z.infer<typeof VolumeObserved>;

/** node: where its disk is; null until a machine first mounts it. */
export const Volume = z.object({
  id: z.string(),
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  sizeMib: z.int(),
  node: z.string().nullable(),
  state: z.enum(["requested", "creating", "ready", "failed", "removing"]),
  reason: z.string().nullable(),
  revision: z.int(),
  /** The snapshot that it was last put back to; epoch counts these. */
  restore: z.object({ snapshot: z.string(), epoch: z.int() }).nullable(),
  observed: VolumeObserved.nullable(),
  usedBy: z.array(z.object({ machine: z.string(), path: z.string(), readonly: z.boolean() })),
  createdAt: z.int(),
});
export type Volume = z.infer<typeof Volume>;

const SizeMib = z
  .int()
  .min(16, "must be at least 16 MiB")
  .max(16 * 1024 * 1024, "must be at most 16 TiB");
export const VolumeCreate = z.strictObject({ name: Name, sizeMib: SizeMib.default(10 * 1024), labels: Labels.default({}) });
/** A volume only grows. */
export const VolumeUpdate = z.strictObject({ sizeMib: SizeMib.optional(), labels: Labels.optional() });
