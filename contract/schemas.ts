/** What each operation takes and gives, under the names of the operation table. */
import { z } from "zod";
import { Image, ImageCreate, ImageDetail, ImageRef } from "./resources/image.ts";
import { NodeDevice } from "./resources/device.ts";
import {
  Certificate,
  Event,
  Node,
  NodeCreate,
  Role,
  RuntimeOffer,
  Session,
  SessionOpen,
  Snapshot,
  SnapshotCreate,
  Token,
  TokenCreate,
} from "./resources/other.ts";
import { Exposure, Machine, MachineCreate, MachineProcess, MachineStats, MachineUpdate, MigrateRequest } from "./resources/machine.ts";
import { Name } from "./resources/name.ts";
import { Template, TemplateBuild } from "./resources/template.ts";
import { Membership, Network, NetworkCreate } from "./resources/network.ts";
import { Mount, Volume, VolumeCreate, VolumeUpdate } from "./resources/volume.ts";
import { MACHINE_STATES, type MachineState } from "./resources/states.ts";
import { signalNumber } from "./resources/workload.ts";
import { DEFAULT_PLATFORM, parsePlatform } from "./oci/manifest.ts";
import type { OperationName } from "./operations.ts";

const count = (max: number, fallback: number) =>
  z.coerce.number().int("must be a whole number").min(1, "must be at least 1").max(max, `must be at most ${max}`).default(fallback);
const flag = z
  .enum(["true", "false"])
  .default("false")
  .transform((v) => v === "true");
const platform = z
  .string()
  .refine((text) => parsePlatform(text) !== undefined, 'must be a platform like "linux/amd64"')
  .default(DEFAULT_PLATFORM);
/** A JSON array of words, in a query. */
const jsonWords = (least: number) =>
  z.string().transform((text, ctx) => {
    const parsed = z
      .array(z.string().refine((a) => !a.includes("\0"), "must not hold NUL"))
      .min(least)
      .max(1000)
      .safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    ctx.addIssue(`must be a JSON array of ${least} to 1000 strings`);
    return z.NEVER;
  });
const none = z.strictObject({});
const page = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), next: z.string().nullable() });
const path = z
  .string()
  .min(1, "must not be empty")
  .max(4000, "must be at most 4000 characters")
  .refine((p) => p.startsWith("/"), "must be an absolute path")
  .refine((p) => !p.includes("\0"), "must not hold NUL");

type Schema = { query?: z.ZodType; body?: z.ZodType; output: z.ZodType };

export const SCHEMAS = {
  health: { output: z.object({ status: z.literal("ok"), version: z.string() }) },
  metrics: { output: z.string() },
  openapi: { output: z.unknown() },
  /** session: where it is a browser that asks. */
  whoami: { output: z.object({ id: z.string(), name: z.string(), role: Role, session: Session.nullable() }) },
  listMachines: {
    query: z.strictObject({
      limit: count(1000, 100),
      after: z.string().optional(),
      label: z
        .string()
        .regex(/^[^=]+(=.*)?$/, "must be KEY or KEY=VALUE")
        .optional(),
      state: z.enum(MACHINE_STATES as [MachineState, ...MachineState[]]).optional(),
    }),
    output: page(Machine),
  },
  createMachine: { body: MachineCreate, output: Machine },
  getMachine: { output: Machine },
  updateMachine: { body: MachineUpdate, output: Machine },
  destroyMachine: { output: Machine },
  startMachine: { body: none, output: Machine },
  stopMachine: { body: none, output: Machine },
  restartMachine: { body: none, output: Machine },
  pauseMachine: { body: none, output: Machine },
  resumeMachine: { body: none, output: Machine },
  standbyMachine: {
    body: z.strictObject({ force: z.boolean().default(false), wakeAt: z.int().min(0).nullable().default(null) }),
    output: Machine,
  },
  migrateMachine: { body: MigrateRequest, output: Machine },
  cancelMigration: { output: Machine },
  exposeMachine: {
    body: Exposure.extend({ hostPort: Exposure.shape.hostPort.optional(), protocol: Exposure.shape.protocol.default("tcp") }),
    output: Machine,
  },
  killMachine: {
    body: z.strictObject({
      signal: z
        .string()
        .refine((s) => signalNumber(s) !== undefined, 'must be a signal like "SIGTERM" or 15')
        .default("KILL"),
    }),
    output: Machine,
  },
  renameMachine: { body: z.strictObject({ name: Name }), output: Machine },
  unexposeMachine: { output: Machine },
  sshCertificate: {
    body: z.strictObject({
      publicKey: z
        .string()
        .max(1000)
        .regex(/^ssh-ed25519 [A-Za-z0-9+/=]+( .*)?$/, "must be an OpenSSH ed25519 public key"),
    }),
    output: z.object({ certificate: z.string(), hostCa: z.string(), hostAlias: z.string(), expiresAt: z.int() }),
  },
  mountVolume: { body: Mount, output: Machine },
  unmountVolume: { output: Machine },
  joinNetwork: { body: Membership, output: Machine },
  leaveNetwork: { output: Machine },
  machineProcesses: { output: page(MachineProcess) },
  machineStats: { output: MachineStats },
  machineAttach: {
    query: z.strictObject({
      rows: z.coerce.number().int().min(0).max(1000).default(0),
      cols: z.coerce.number().int().min(0).max(1000).default(0),
    }),
    output: z.unknown(),
  },
  machineLogs: {
    query: z.strictObject({
      follow: flag,
      /** Default: what its workload writes, where it has one that is not a whole system. */
      source: z.enum(["console", "workload"]).optional(),
      tail: z.coerce.number().int().min(0).max(1_000_000).optional(),
      /** Unix milliseconds. */
      since: z.coerce.number().min(0).optional(),
      until: z.coerce.number().min(0).optional(),
      timestamps: flag,
    }),
    output: z.unknown(),
  },
  machineExec: {
    query: z.strictObject({
      argv: jsonWords(1),
      tty: flag,
      stdin: flag,
      rows: count(1000, 24),
      cols: count(1000, 80),
      user: z
        .string()
        .max(64)
        .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/, "must be USER or USER:GROUP")
        .optional(),
      /** "K=V", beside what its workload has. */
      env: jsonWords(0).optional(),
      workdir: path.optional(),
    }),
    output: z.unknown(),
  },
  /** owners: what goes in keeps its numbers of user and group, and its set-uid bits. */
  machineCopy: { query: z.strictObject({ direction: z.enum(["in", "out"]), path, owners: flag }), output: z.unknown() },
  machineTunnel: {
    query: z.strictObject({ port: z.coerce.number().int().min(1, "must be at least 1").max(65535, "must be at most 65535") }),
    output: z.unknown(),
  },
  listSnapshots: { output: page(Snapshot) },
  createSnapshot: { body: SnapshotCreate, output: Snapshot },
  restoreSnapshot: { body: none, output: Machine },
  removeSnapshot: { output: Snapshot },
  listVolumes: { output: page(Volume) },
  createVolume: { body: VolumeCreate, output: Volume },
  getVolume: { output: Volume },
  updateVolume: { body: VolumeUpdate, output: Volume },
  removeVolume: { output: Volume },
  pruneVolumes: { body: none, output: z.object({ removed: z.array(z.string()), freedBytes: z.number() }) },
  importVolume: { output: z.unknown() },
  listVolumeSnapshots: { output: page(Snapshot) },
  createVolumeSnapshot: { body: SnapshotCreate, output: Snapshot },
  restoreVolumeSnapshot: { body: none, output: Volume },
  removeVolumeSnapshot: { output: Snapshot },
  listNetworks: { output: page(Network) },
  createNetwork: { body: NetworkCreate, output: Network },
  getNetwork: { output: Network },
  removeNetwork: { output: Network },
  pruneNetworks: { body: none, output: z.object({ removed: z.array(z.string()) }) },
  listImages: { output: page(Image) },
  getImage: { output: ImageDetail },
  createImage: { body: ImageCreate, output: Image },
  tagImage: { body: z.strictObject({ name: ImageRef }), output: Image },
  removeImage: { output: Image },
  pruneImages: { body: none, output: z.object({ removed: z.array(z.string()), freedBytes: z.number() }) },
  pullImage: { query: z.strictObject({ image: ImageRef, platform, insecure: flag }), output: z.unknown() },
  pushImage: { query: z.strictObject({ image: ImageRef, insecure: flag }), output: z.unknown() },
  listTemplates: { output: page(Template) },
  buildTemplate: { body: TemplateBuild, output: page(Template) },
  removeTemplate: { output: Template },
  pruneTemplates: { body: none, output: z.object({ removed: z.array(z.string()), freedBytes: z.number() }) },
  listNodes: { output: page(Node) },
  /** join: what the host is told, once; who has it is that node. */
  addNode: { body: NodeCreate, output: Node.extend({ join: z.string() }) },
  removeNode: { output: Node },
  listDevices: { output: page(NodeDevice) },
  listRuntimes: { output: page(RuntimeOffer) },
  drainNode: { body: none, output: Node },
  undrainNode: { output: Node },
  listCertificates: { output: page(Certificate) },
  listEvents: {
    query: z.strictObject({
      after: z.coerce.number().int().min(0).default(0),
      limit: count(1000, 100),
      subject: z.string().optional(),
      last: z.coerce.number().int().min(1).max(1000).optional(),
    }),
    output: page(Event),
  },
  /** subject: only those about this one, by id. */
  watchEvents: {
    query: z.strictObject({ after: z.coerce.number().int().min(0).optional(), subject: z.string().optional() }),
    output: z.unknown(),
  },
  /** after: the last event that is known; told is what came since. */
  watchChanges: { query: z.strictObject({ after: z.coerce.number().int().min(0).optional() }), output: z.unknown() },
  /** path: of this server, with the code in its fragment, which no server is ever sent. */
  createLink: { body: none, output: z.object({ path: z.string(), expiresAt: z.int() }) },
  openSession: { body: SessionOpen, output: Session },
  listSessions: { output: page(Session) },
  closeSession: { output: Session },
  listTokens: { output: page(Token) },
  createToken: { body: TokenCreate, output: Token.extend({ secret: z.string() }) },
  removeToken: { output: Token },
} as const satisfies Record<OperationName, Schema>;

type Schemas = typeof SCHEMAS;
/** The body as a client writes it: fields with defaults may be left out. */
export type BodyInput<N extends OperationName> = Schemas[N] extends { body: infer B extends z.ZodType } ? z.input<B> : undefined;
export type Body<N extends OperationName> = Schemas[N] extends { body: infer B extends z.ZodType } ? z.output<B> : undefined;
export type Query<N extends OperationName> = Schemas[N] extends { query: infer Q extends z.ZodType } ? z.output<Q> : Record<string, never>;
export type Output<N extends OperationName> = z.output<Schemas[N]["output"]>;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
