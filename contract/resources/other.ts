/** The resources beside the machine: nodes, snapshots, tokens, events. */
import { z } from "zod";
import { Device } from "./device.ts";
import type { Machine } from "./machine.ts";
import { Name } from "./name.ts";
import { TemplateStatus } from "./template.ts";

/** accelerator: what guests really run on, found by booting one, not by looking for /dev/kvm. */
export const NodeStatus = z.object({
  version: z.string(),
  bootId: z.string(),
  cpu: z.int(),
  memoryMib: z.int(),
  diskMib: z.int(),
  diskFreeMib: z.int(),
  accelerator: z.enum(["kvm", "tcg"]),
  acceleratorReason: z.string(),
  /** Names its QEMU and its CPUs: what runs at one node goes on at another that says the same. */
  compatibility: z.string().default(""),
  storage: z.enum(["zfs", "reflink", "sparse"]),
  runtimes: z.array(z.string()),
  /** Runtimes whose program is there, and why it is of no use. */
  lacking: z.array(z.object({ runtime: z.string(), reason: z.string() })).default([]),
  /** File systems made from images that it holds. */
  images: z.array(z.object({ rootfs: z.string(), bytes: z.number() })),
  /** Folders of the node below which machines may mount. */
  folders: z.array(z.string()),
  templates: z.array(TemplateStatus),
  /** On its PCI bus, bridges left out. */
  devices: z.array(Device).default([]),
});
export type NodeStatus = z.infer<typeof NodeStatus>;

/** address: HOST:PORT at which the control plane and other nodes reach its agent. */
export const NodeCreate = z.strictObject({
  name: Name,
  address: z.string().regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be HOST:PORT, like 10.0.0.2:7421"),
});

export const Node = z.object({
  id: z.string(),
  name: z.string(),
  address: z.string(),
  connected: z.boolean(),
  /** It is given no more machines. */
  draining: z.boolean().default(false),
  status: NodeStatus.nullable(),
  since: z.int(),
});
export type Node = z.infer<typeof Node>;

/** What machines can run on. nodes: names of those that offer it now. The rest is the table of runtimes/capabilities.ts. */
export const RuntimeOffer = z.object({
  name: z.string(),
  kind: z.enum(["machine", "container"]),
  default: z.boolean(),
  nodes: z.array(z.string()),
  /** Nodes that have its program, and why it is of no use there. */
  lacking: z.array(z.object({ node: z.string(), reason: z.string() })),
  cpuHotplug: z.boolean(),
  memoryHotplug: z.boolean(),
  diskHotplug: z.boolean(),
  pause: z.boolean(),
  diskSnapshots: z.boolean(),
  memorySnapshots: z.boolean(),
  liveMigration: z.boolean(),
  moving: z.boolean(),
  gpu: z.boolean(),
  nested: z.boolean().nullable(),
  ownInit: z.boolean(),
  folders: z.boolean(),
  diskLimit: z.boolean(),
});

/** of: the id of the machine or the volume whose disk it keeps. memory: its RAM as well. state: creating and removing are desired but not yet observed. */
export const Snapshot = z.object({
  id: z.string(),
  name: z.string(),
  of: z.string(),
  memory: z.boolean(),
  state: z.enum(["creating", "ready", "failed", "removing"]),
  bytes: z.number(),
  reason: z.string().nullable(),
  createdAt: z.int(),
});
export type Snapshot = z.infer<typeof Snapshot>;
export const SnapshotCreate = z.strictObject({ name: Name.optional(), memory: z.boolean().default(false) });

export const Role = z.enum(["admin", "viewer"]);
export type Role = z.infer<typeof Role>;
export const Token = z.object({ id: z.string(), name: z.string(), role: Role, createdAt: z.int() });
export type Token = z.infer<typeof Token>;
export const TokenCreate = z.strictObject({ name: Name, role: Role.default("viewer") });

/** A browser that is signed in. token: the id of the one it stands for, with whose end it ends. expiresAt: Unix milliseconds. */
export const Session = z.object({
  id: z.string(),
  name: z.string(),
  role: Role,
  token: z.string(),
  createdAt: z.int(),
  expiresAt: z.int(),
});
export type Session = z.infer<typeof Session>;

/** code: of a link. Either that or a token. */
export const SessionOpen = z
  .strictObject({ code: z.string().max(200).optional(), token: z.string().max(4000).optional() })
  .refine((s) => (s.code === undefined) !== (s.token === undefined), 'must have either "code" or "token"');

/** What others are vouched for by. fingerprint: of its key, or of itself for X.509, as ssh-keygen and openssl print it. expiresAt: null: never. */
export const Certificate = z.object({
  name: z.string(),
  kind: z.enum(["ssh", "x509"]),
  summary: z.string(),
  fingerprint: z.string(),
  expiresAt: z.int().nullable(),
});
export type Certificate = z.infer<typeof Certificate>;

/** One appended fact. actor: the token's id, or `reconcile`, or `node:ID`; with it, the log is the audit trail. */
export const Event = z.object({
  seq: z.int(),
  at: z.int(),
  type: z.string(),
  /** The machine, node, image or token it is about. */
  subject: z.string(),
  actor: z.string(),
  data: z.unknown(),
});
export type Event = z.infer<typeof Event>;

/**
 * What a watcher of changes is told, at most ten times a second. seq: the last event that it knows with this. machines: those that
 * changed, as they are now; gone: ids of those that are no more. reset: too much has happened since then to be told, so read anew.
 */
export type Changes = { seq: number; events: Event[]; machines: Machine[]; gone: string[]; reset?: true };
