/**
 * The protocol between control plane and node agent: gRPC over mTLS, the agent serves. Unary and observation
 * messages are JSON checked against these schemas on both ends; Open carries live-stream messages (frames.ts).
 *
 * Apply says what a machine is to be, never what to do. A document with a lower revision
 * than one already accepted is stale and ignored, so lost, doubled and reordered messages are harmless.
 */
import { z } from "zod";
import { capabilitiesOf } from "#runtimes/capabilities.ts";
import { Exposure, MachineProcess, MachineSpec, MachineStats, Observed, Sleep, Source } from "../resources/machine.ts";
import { TemplateShape } from "../resources/template.ts";
import { VolumeObserved } from "../resources/volume.ts";
import { Workload } from "../resources/workload.ts";
import { NodeStatus } from "../resources/other.ts";

/** An agent speaks this minor version and the one before. */
export const PROTOCOL = { major: 1, minor: 0 };
export const Protocol = z.object({ major: z.int(), minor: z.int() });

export function speaks(theirs: { major: number; minor: number }): boolean {
  return theirs.major === PROTOCOL.major && Math.abs(theirs.minor - PROTOCOL.minor) <= 1;
}

/** What SSH in the machine needs. Never written to a disk or a log: sent with every Apply, kept in the agent's memory and the guest's /run. */
export const Identity = z.object({ hostKey: z.string(), hostCertificate: z.string(), userCa: z.string(), principals: z.array(z.string()) });
export type Identity = z.infer<typeof Identity>;

const SnapshotIds = z.array(z.string().regex(/^s-[a-z0-9]{12}$/));
const VolumeId = z.string().regex(/^v-[a-z0-9]{12}$/);
const Restore = z.object({ snapshot: z.string(), epoch: z.int() });

/** What a volume is to be. made: it has been there, so one that is not has been lost, and is not made again. */
export const DesiredVolume = z.object({
  id: VolumeId,
  revision: z.int(),
  present: z.boolean(),
  made: z.boolean(),
  sizeMib: z.int(),
  snapshots: SnapshotIds,
  restore: Restore.nullable(),
});
export type DesiredVolume = z.infer<typeof DesiredVolume>;

/**
 * Names an image's root file system, by its chain id (OCI image spec, "Layer ChainID"): as machines have it, and, with
 * "docker-" before it, as a Docker engine has it.
 */
const ROOTFS = /^(docker-)?[a-f0-9]{64}$/;
const FOR_CONTAINERS = "docker-";

export function isForContainers(rootfs: string | null): boolean {
  return rootfs !== null && rootfs.startsWith(FOR_CONTAINERS);
}

/** Of either. */
export function chainIdOf(rootfs: string): string {
  return isForContainers(rootfs) ? rootfs.slice(FOR_CONTAINERS.length) : rootfs;
}

/** The one that a machine of this runtime needs. */
export function rootfsFor(chainId: string, runtime: string | null): string {
  return capabilitiesOf(runtime).kind === "container" ? `${FOR_CONTAINERS}${chainId}` : chainId;
}

/** A machine's way to another node. peer: the other end; address: where its agent listens, for the source to dial. */
export const Move = z.object({ n: z.int(), role: z.enum(["source", "target"]), peer: z.object({ node: z.string(), address: z.string() }) });
export type Move = z.infer<typeof Move>;

export const Desired = z.object({
  id: z.string().regex(/^m-[a-z0-9]{12}$/),
  name: z.string(),
  revision: z.int(),
  epoch: z.int(),
  power: z.enum(["running", "paused", "stopped", "absent"]),
  spec: MachineSpec,
  /** Its number on the node, from which its IPv4 address and MAC follow. */
  slot: z.int().min(0).max(65000),
  exposures: z.array(Exposure),
  snapshots: SnapshotIds,
  /** Those of them that keep its RAM as well. */
  withMemory: SnapshotIds,
  restore: Restore.nullable(),
  source: Source.nullable(),
  sleep: Sleep,
  move: Move.nullable(),
  /** Its mounts, with the ids of volumes. */
  mounts: z.array(z.object({ volume: VolumeId.nullable(), folder: z.string().nullable(), path: z.string(), readonly: z.boolean() })),
  /** The networks it is in, by number. */
  networks: z.array(z.object({ number: z.int(), internal: z.boolean(), aliases: z.array(z.string()) })),
  /** Names the image's file system, which the control plane sends where the node lacks it; null: its disk is all that it has. */
  rootfs: z.string().regex(ROOTFS).nullable(),
  workload: Workload,
  identity: Identity.nullable(),
});
export type Desired = z.infer<typeof Desired>;

/** The first message of PutImage; the layers' blobs follow, top layer first. layers: bottom to top. */
export const ImageHead = z.object({
  rootfs: z.string().regex(ROOTFS),
  keepAll: z.boolean(),
  layers: z.array(z.object({ digest: z.string(), diffId: z.string(), size: z.int() })),
});
export type ImageHead = z.infer<typeof ImageHead>;
/** again: it must come once more with keepAll. */
export const ImageTaken = z.object({ again: z.boolean() });

export const HelloRequest = z.object({ protocol: Protocol });
export const HelloReply = z.object({ protocol: Protocol, node: z.string() });
export const ApplyRequest = z.object({
  machines: z.array(Desired),
  volumes: z.array(DesiredVolume),
  removeImages: z.array(z.string()),
});
export type ApplyRequest = z.infer<typeof ApplyRequest>;
export const ApplyReply = z.object({ accepted: z.array(z.string()) });
export const StatsRequest = z.object({ machine: z.string() });

/**
 * full: every machine and every volume on the node, so one that is missing is absent; otherwise only those that changed.
 * sequence: 1, 2, ... within one Observe call, so that the last one said is also the last one believed.
 */
export const Observation = z.object({
  sequence: z.int(),
  status: NodeStatus.nullable(),
  full: z.boolean(),
  machines: z.array(z.object({ id: z.string(), observed: Observed })),
  volumes: z.array(z.object({ id: z.string(), observed: VolumeObserved })),
});
export type Observation = z.infer<typeof Observation>;

/** The first message of an Open stream; raw live-stream messages follow in both directions. */
export const OpenRequest = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("exec"),
    machine: z.string(),
    argv: z.array(z.string()),
    env: z.array(z.string()),
    /** null: as the workload has it. */
    workdir: z.string().nullable(),
    user: z.string().nullable(),
    tty: z.boolean(),
    stdin: z.boolean(),
    rows: z.int(),
    cols: z.int(),
  }),
  z.object({ kind: z.literal("read"), machine: z.string(), path: z.string() }),
  z.object({ kind: z.literal("write"), machine: z.string(), path: z.string(), owners: z.boolean() }),
  z.object({ kind: z.literal("tunnel"), machine: z.string(), port: z.int() }),
  z.object({ kind: z.literal("import"), volume: z.string() }),
  z.object({ kind: z.literal("attach"), machine: z.string(), rows: z.int(), cols: z.int() }),
  z.object({
    kind: z.literal("logs"),
    machine: z.string(),
    source: z.enum(["console", "workload"]).nullable(),
    follow: z.boolean(),
    tail: z.int().nullable(),
    since: z.number().nullable(),
    until: z.number().nullable(),
    timestamps: z.boolean(),
  }),
]);
export type OpenRequest = z.infer<typeof OpenRequest>;

/** control: JSON messages of how far it is (agent/move/words.ts). The others carry what their names say, to its end. */
export const MoveStream = z.object({
  machine: z.string(),
  n: z.int(),
  carries: z.enum(["control", "disk", "memory", "devices", "pages", "console", "workload"]),
});
export type MoveStream = z.infer<typeof MoveStream>;

export const SERVICE = "hyperlane.agent.v1.Agent";
export const METHODS = {
  Hello: { request: HelloRequest, reply: HelloReply, kind: "unary" },
  Apply: { request: ApplyRequest, reply: ApplyReply, kind: "unary" },
  Signal: { request: z.object({ machine: z.string(), signal: z.int() }), reply: z.object({}), kind: "unary" },
  Processes: { request: StatsRequest, reply: z.object({ items: z.array(MachineProcess) }), kind: "unary" },
  /** Makes one, which may take minutes. */
  BuildTemplate: { request: TemplateShape, reply: z.object({ key: z.string() }), kind: "unary" },
  RemoveTemplates: { request: z.object({ keys: z.array(z.string()) }), reply: z.object({}), kind: "unary" },
  Stats: { request: StatsRequest, reply: MachineStats, kind: "unary" },
  Observe: { request: z.object({}), reply: Observation, kind: "serverStream" },
  /** An image's layers to the node, which makes a file system of them. */
  PutImage: { request: null, reply: ImageTaken, kind: "clientStream" },
  /** What a machine's disk holds beside its image, as a layer: a tar archive. */
  Commit: { request: z.object({ machine: z.string() }), reply: null, kind: "serverStream" },
  Open: { request: null, reply: null, kind: "bidi" },
  /** Between nodes: one of the streams by which a machine moves. The first message is a MoveStream; what follows is raw. */
  Move: { request: null, reply: null, kind: "bidi" },
} as const;
export type MethodName = keyof typeof METHODS;

/** Longest message either side takes: an Apply for a few thousand machines. */
export const MESSAGE_MAX_BYTES = 32 * 1024 * 1024;

/** The gRPC service description that both ends are made from. */
export function serviceDefinition(): Record<
  MethodName,
  {
    path: string;
    requestStream: boolean;
    responseStream: boolean;
    requestSerialize: (v: unknown) => Buffer;
    requestDeserialize: (b: Buffer) => unknown;
    responseSerialize: (v: unknown) => Buffer;
    responseDeserialize: (b: Buffer) => unknown;
  }
> {
  const raw = {
    write: (v: unknown) => {
      const bytes = v as Uint8Array;
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    read: (b: Buffer) => b,
  };
  const json = (schema: z.ZodType) => ({
    write: (v: unknown) => Buffer.from(JSON.stringify(v)),
    read: (b: Buffer) => schema.parse(JSON.parse(b.toString())),
  });
  const rows = Object.entries(METHODS).map(([name, m]) => {
    const request = m.request ? json(m.request) : raw;
    const reply = m.reply ? json(m.reply) : raw;
    return [
      name,
      {
        path: `/${SERVICE}/${name}`,
        requestStream: m.kind === "bidi" || m.kind === "clientStream",
        responseStream: m.kind === "bidi" || m.kind === "serverStream",
        requestSerialize: request.write,
        requestDeserialize: request.read,
        responseSerialize: reply.write,
        responseDeserialize: reply.read,
      },
    ];
  });
  return Object.fromEntries(rows);
}
