/** The machine: what is desired (spec, power), what was observed (status), and the state that follows from both. */
import { z } from "zod";
import { DeviceRef } from "./device.ts";
import { HealthChange, ImageRef, MachineImage } from "./image.ts";
import { Labels, Name } from "./name.ts";
import { Memberships } from "./network.ts";
import { Mounts, SnapshotsSeen } from "./volume.ts";
import { signalNumber } from "./workload.ts";
import { MACHINE_STATES, type MachineState } from "./states.ts";

export const Env = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "names must be letters, digits and underscores, not starting with a digit"),
    z
      .string()
      .max(4096, "values must be at most 4096 characters")
      .refine((v) => !v.includes("\0"), "values must not hold NUL"),
  )
  .refine((env) => Object.keys(env).length <= 256, "must be at most 256 variables");

const Words = z
  .array(
    z
      .string()
      .max(16_384)
      .refine((w) => !w.includes("\0"), "must not hold NUL"),
  )
  .max(500, "must be at most 500 words");

const Hostname = z
  .string()
  .max(63)
  .regex(/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/, "must be letters, digits, dots and dashes");

const NodePath = z
  .string()
  .max(4096, "must be at most 4096 characters")
  .regex(/^\/[^\0]*$/, "must be an absolute path");

/**
 * A kernel of the user's own, which the machine boots in place of ours: files of its node, below folders that machines may mount. args: after
 * those that every such kernel is told, and so before them.
 */
const OwnKernel = z.strictObject({
  path: NodePath,
  initramfs: NodePath.nullable().default(null),
  args: z
    .string()
    .max(1500, "must be at most 1500 characters")
    .regex(/^[^\0\n]*$/, "must be one line")
    .nullable()
    .default(null),
});

/** What a user asks for. image: with a kernel of one's own, the path of a disk on its node, a copy of which is the machine's. memoryMib and diskMib in MiB; diskMib is the size of the writable layer. */
export const MachineSpec = z.strictObject({
  image: z.string().max(4096).default("debian:12").transform(asImage),
  kernel: OwnKernel.nullable().default(null),
  cpu: z.int().min(1, "must be at least 1").max(64, "must be at most 64").default(1),
  memoryMib: z
    .int()
    .min(128, "must be at least 128 MiB")
    .max(1024 * 1024, "must be at most 1 TiB")
    .default(512),
  diskMib: z
    .int()
    .min(256, "must be at least 256 MiB")
    .max(16 * 1024 * 1024, "must be at most 16 TiB")
    .default(10 * 1024),
  env: Env.default({}),
  /** When it is started again after it ended by itself, in Docker's words. */
  restart: z
    .string()
    .regex(
      /^(no|always|unless-stopped|on-failure(:[1-9]\d{0,3})?)$/,
      'must be "no", "on-failure", "on-failure:N", "always" or "unless-stopped"',
    )
    .default("on-failure"),
  /** Destroyed once it has ended. */
  autoRemove: z.boolean().default(false),
  /** These say otherwise than the image; null: as the image says. */
  entrypoint: Words.nullable().default(null),
  cmd: Words.nullable().default(null),
  workdir: z
    .string()
    .max(4000)
    .regex(/^\/[^\0]*$/, "must be an absolute path")
    .nullable()
    .default(null),
  /** NAME, UID, NAME:GROUP or UID:GID. */
  user: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/, "must be USER or USER:GROUP")
    .nullable()
    .default(null),
  hostname: Hostname.nullable().default(null),
  stopSignal: z
    .string()
    .refine((s) => signalNumber(s) !== undefined, 'must be a signal like "SIGTERM" or 15')
    .nullable()
    .default(null),
  stopTimeoutS: z.int().min(0, "must be at least 0").max(3600, "must be at most 3600").nullable().default(null),
  healthcheck: HealthChange.nullable().default(null),
  tty: z.boolean().default(false),
  /** Whether its standard input can be written to while it runs. */
  stdin: z.boolean().default(false),
  /** Nothing of its root can be written to, volumes aside. */
  readOnly: z.boolean().default(false),
  mounts: Mounts.default([]),
  networks: Memberships,
  /** Devices of its node that it has for itself while it runs. */
  devices: z.array(DeviceRef).max(16).default([]),
  /** What it runs on; null: whatever its node has. */
  runtime: z.string().min(1).max(64).nullable().default(null),
  /** Seconds without anything to do after which it goes to standby by itself; null: never. */
  idleS: z
    .int()
    .min(5, "must be at least 5")
    .max(30 * 86_400, "must be at most 30 days")
    .nullable()
    .default(null),
  /** Kept from going to standby by itself. */
  hold: z.boolean().default(false),
});
export type MachineSpec = z.infer<typeof MachineSpec>;

/** A path stays as it is; all else is an image's name. */
function asImage(text: string, ctx: z.RefinementCtx): string {
  if (text.startsWith("/")) return text;
  const name = ImageRef.safeParse(text);
  if (name.success) return name.data;
  for (const { message } of name.error.issues) ctx.addIssue(message);
  return z.NEVER;
}

/**
 * What was last wished of a machine that is to run: that it goes to standby, or is awake; n counts wishes. Otherwise it
 * sleeps and wakes by itself. force: whatever goes on in it. wakeAt: then it wakes.
 */
export const Sleep = z.object({ n: z.int(), wish: z.enum(["standby", "awake"]), force: z.boolean(), wakeAt: z.int().nullable() });
export type Sleep = z.infer<typeof Sleep>;

/**
 * How far a machine's way to another node is, as one of the two ends sees it. done: at the source, that it stands still and all of it
 * is over there; at the target, that all of it has come. Which of them is the machine then, the control plane says.
 */
export const MoveSeen = z.object({ n: z.int(), stage: z.enum(["moving", "done", "failed"]), reason: z.string().nullable() });
export type MoveSeen = z.infer<typeof MoveSeen>;

/** Its way to another node. n: the log position of what was asked. epoch: of the start that is to go on there. seen: what that node says. */
export const Migration = z.object({ n: z.int(), to: z.string(), slot: z.int(), epoch: z.int(), seen: MoveSeen.nullable() });

export const Power = z.enum(["running", "paused", "stopped"]);
export type Power = z.infer<typeof Power>;

/** A port of the machine made reachable from outside, on hostPort of its node. hostIp: null for every address of the node. */
export const Exposure = z.strictObject({
  hostIp: z.union([z.ipv4(), z.ipv6()]).nullable().default(null),
  port: z.int().min(1, "must be at least 1").max(65535, "must be at most 65535"),
  hostPort: z.int().min(1, "must be at least 1").max(65535, "must be at most 65535"),
  protocol: z.enum(["tcp", "udp"]),
});
export type Exposure = z.infer<typeof Exposure>;

export const PHASES = [
  "preparing",
  "starting",
  "running",
  "paused",
  "standby",
  "stopping",
  "stopped",
  "exited",
  "failed",
  "absent",
] as const;

/**
 * exited: its workload ended. out-of-memory: the guest's kernel ended the workload. powered-off: from inside.
 * panicked: the guest's kernel. crashed: the VMM.
 */
const EXITS = ["exited", "out-of-memory", "powered-off", "panicked", "crashed", "host-rebooted"] as const;

/** What an agent last saw of a machine. `exit` says how a machine that nobody asked to end has ended. */
export const Observed = z.object({
  phase: z.enum(PHASES),
  /** The desired document's revision that the agent has accepted; 0 when it has not heard of this machine since it started. */
  revision: z.int(),
  epoch: z.int(),
  exit: z.enum(EXITS).nullable(),
  /** The workload's exit code, as a shell would say it (128 + n for a signal), where it ended by itself. */
  exitCode: z.int().nullable(),
  /** What its health check says while it runs; null: it has none. */
  health: z.enum(["starting", "healthy", "unhealthy"]).nullable(),
  /** What went wrong, for exited and failed; null otherwise. */
  reason: z.string().nullable(),
  /** The finished steps of the last start, in order, with how long each took. */
  steps: z.array(z.object({ name: z.enum(["image", "disk", "network", "start", "ready"]), ms: z.number() })),
  /** How it last started: from its kernel on, from a template, or where its own memory was saved; null: not yet. */
  origin: z.enum(["boot", "template", "spare", "memory"]).nullable(),
  /** The last wish that was heeded (Sleep), and why it was not. */
  sleep: z.object({ n: z.int(), refused: z.string().nullable() }),
  pid: z.int().nullable(),
  address6: z.string().nullable(),
  address4: z.string().nullable(),
  accelerator: z.enum(["kvm", "tcg"]).nullable(),
  snapshots: SnapshotsSeen,
  /** Volumes that it has, by id. reason: why one that it should have is not there, or one that it should not is. */
  volumes: z.record(z.string(), z.object({ attached: z.boolean(), reason: z.string().nullable() })),
  /** Its way to another node, or from one; null: none. */
  move: MoveSeen.nullable().default(null),
  /** The snapshot restore last done, by the epoch that asked for it; 0: none. */
  restoredEpoch: z.int(),
});
export type Observed = z.infer<typeof Observed>;

/** A snapshot of another machine, a copy of whose disk is its first; by ids, or, where it is asked for, by names as well. */
export const Source = z.strictObject({ machine: z.string(), snapshot: z.string() });
export type Source = z.infer<typeof Source>;

export const Machine = z.object({
  id: z.string(),
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  spec: MachineSpec,
  /** The image its spec named when it was asked for; null: it boots a kernel of its own. */
  image: MachineImage.nullable(),
  power: Power,
  state: z.enum(MACHINE_STATES as [MachineState, ...MachineState[]]),
  /** Why it is in this state, for a person; null when there is nothing to say. */
  reason: z.string().nullable(),
  node: z.string().nullable(),
  /** It is on its way to another node. */
  migration: Migration.omit({ slot: true }).nullable(),
  /** How the last way to another node ended. reason: why it stayed; null: it went. */
  moved: z.object({ n: z.int(), to: z.string(), reason: z.string().nullable() }).nullable(),
  /** Counts starts: each start, restart, restore and retry is a new epoch. */
  epoch: z.int(),
  /** The log position of the last change of what is desired. */
  revision: z.int(),
  attempt: z.int(),
  retryAt: z.int().nullable(),
  destroying: z.boolean(),
  /** What runs was started before the last change of the spec. */
  needsRestart: z.boolean(),
  restore: z.object({ snapshot: z.string(), epoch: z.int() }).nullable(),
  source: Source.nullable(),
  sleep: Sleep,
  exposures: z.array(Exposure),
  observed: Observed.nullable(),
  createdAt: z.int(),
  updatedAt: z.int(),
});
export type Machine = z.infer<typeof Machine>;

/** source: the image and the size of the disk are then that one's, whatever the spec says. */
export const MachineCreate = z.strictObject({
  name: Name,
  source: Source.nullable().default(null),
  labels: Labels.default({}),
  spec: MachineSpec.prefault({}),
  exposures: z.array(Exposure).max(100).default([]),
  /** false: it is made, and started when somebody asks for that. */
  start: z.boolean().default(true),
});
/** Fields left out stay as they are. `restart: true` allows a restart where the change needs one. */
export const MachineUpdate = z.strictObject({
  cpu: MachineSpec.shape.cpu.unwrap().optional(),
  memoryMib: MachineSpec.shape.memoryMib.unwrap().optional(),
  image: ImageRef.optional(),
  env: Env.optional(),
  labels: Labels.optional(),
  idleS: MachineSpec.shape.idleS.unwrap().optional(),
  hold: z.boolean().optional(),
  restart: z.boolean().default(false),
});

/** to: a node, by name or id; null: whichever has most room. */
export const MigrateRequest = z.strictObject({ to: z.string().nullable().default(null) });

/**
 * What the machine itself sees of its RAM, load (load1: the average of a minute) and disk; and what its node counts: CPU time
 * and network bytes since its start.
 */
export const MachineStats = z.object({
  uptimeS: z.number(),
  memoryMib: z.number(),
  memoryFreeMib: z.number(),
  load1: z.number(),
  diskMib: z.number(),
  diskFreeMib: z.number(),
  cpuMs: z.number(),
  networkInBytes: z.number(),
  networkOutBytes: z.number(),
});

/** A process in a machine. cpuMs: CPU time it has used. argv: empty for the kernel's own. */
export const MachineProcess = z.object({
  pid: z.int(),
  parent: z.int(),
  user: z.int(),
  state: z.string(),
  cpuMs: z.number(),
  memoryMib: z.number(),
  name: z.string(),
  argv: z.array(z.string()),
});
export type MachineProcess = z.infer<typeof MachineProcess>;
