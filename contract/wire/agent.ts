/**
 * The protocol between control plane and node agent: gRPC over mTLS, the agent serves. Unary and observation
 * messages are JSON checked against these schemas on both ends; Open carries live-stream messages (frames.ts).
 *
 * Apply is the only command: it says what a machine is to be, never what to do. A document with a lower revision
 * than one already accepted is stale and ignored, so lost, doubled and reordered messages are harmless.
 */
import { z } from "zod";
import { Exposure, MachineSpec, MachineStats, Observed } from "../resources/machine.ts";
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
  snapshots: z.array(z.string().regex(/^s-[a-z0-9]{12}$/)),
  restore: z.object({ snapshot: z.string(), epoch: z.int() }).nullable(),
  /** Images to be made from it: id and the name it will go by. */
  images: z.array(z.object({ id: z.string().regex(/^i-[a-z0-9]{12}$/), name: z.string() })),
  identity: Identity.nullable(),
});
export type Desired = z.infer<typeof Desired>;

export const HelloRequest = z.object({ protocol: Protocol });
export const HelloReply = z.object({ protocol: Protocol, node: z.string() });
export const ApplyRequest = z.object({ machines: z.array(Desired), removeImages: z.array(z.string()) });
export const ApplyReply = z.object({ accepted: z.array(z.string()) });
export const StatsRequest = z.object({ machine: z.string() });

/**
 * full: every machine on the node, so one that is missing is absent; otherwise only those that changed.
 * sequence: 1, 2, ... within one Observe call, so that the last one said is also the last one believed.
 */
export const Observation = z.object({
  sequence: z.int(),
  status: NodeStatus.nullable(),
  full: z.boolean(),
  machines: z.array(z.object({ id: z.string(), observed: Observed })),
});
export type Observation = z.infer<typeof Observation>;

/** The first message of an Open stream; raw live-stream messages follow in both directions. */
export const OpenRequest = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("exec"),
    machine: z.string(),
    argv: z.array(z.string()),
    env: z.record(z.string(), z.string()),
    workdir: z.string(),
    user: z.string(),
    tty: z.boolean(),
    stdin: z.boolean(),
    rows: z.int(),
    cols: z.int(),
  }),
  z.object({ kind: z.literal("read"), machine: z.string(), path: z.string() }),
  z.object({ kind: z.literal("write"), machine: z.string(), path: z.string() }),
  z.object({ kind: z.literal("tunnel"), machine: z.string(), port: z.int() }),
  z.object({ kind: z.literal("logs"), machine: z.string(), source: z.enum(["console", "workload"]), follow: z.boolean(), tail: z.int() }),
]);
export type OpenRequest = z.infer<typeof OpenRequest>;

export const SERVICE = "hyperlane.agent.v1.Agent";
export const METHODS = {
  Hello: { request: HelloRequest, reply: HelloReply, kind: "unary" },
  Apply: { request: ApplyRequest, reply: ApplyReply, kind: "unary" },
  Stats: { request: StatsRequest, reply: MachineStats, kind: "unary" },
  Observe: { request: z.object({}), reply: Observation, kind: "serverStream" },
  Open: { request: null, reply: null, kind: "bidi" },
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
  const raw = { write: (v: unknown) => v as Buffer, read: (b: Buffer) => b };
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
        requestStream: m.kind === "bidi",
        responseStream: m.kind !== "unary",
        requestSerialize: request.write,
        requestDeserialize: request.read,
        responseSerialize: reply.write,
        responseDeserialize: reply.read,
      },
    ];
  });
  return Object.fromEntries(rows);
}
