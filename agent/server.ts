/** The agent's gRPC server. Only the control plane's certificate is let in. */
import {
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from "@grpc/grpc-js";
import { HyperlaneError } from "#contract/errors.ts";
import type { NodeStatus } from "#contract/resources/other.ts";
import {
  ImageHead,
  MESSAGE_MAX_BYTES,
  MoveStream,
  PROTOCOL,
  serviceDefinition,
  speaks,
  type ApplyRequest,
  type Observation,
} from "#contract/wire/agent.ts";
import { F } from "#contract/wire/messages.ts";
import type { Stream } from "#agent/move/streams.ts";
import { isVolume } from "#agent/storage/storage.ts";
import type { Images } from "#agent/images/store.ts";
import type { Lanes } from "#agent/machine/lanes.ts";
import { decodeProcesses } from "#agent/machine/processes.ts";
import type { Volumes } from "#agent/storage/volumes.ts";
import type { Shape } from "#agent/templates/shape.ts";
import type { Spares } from "#agent/templates/spares.ts";
import type { Templates } from "#agent/templates/templates.ts";
import { grpcError, openStream } from "./streams.ts";

type Deps = {
  node: string;
  lanes: Lanes;
  volumes: Volumes;
  images: Images;
  templates: Templates;
  spares: Spares;
  logsDir: string;
  /** For what exists only for a while. */
  workDir: string;
  status(): NodeStatus;
  tls: { ca: string; key: string; cert: string };
  log(line: string): void;
};
type AnyCall = ServerUnaryCall<unknown, unknown>;

const HEARTBEAT_MS = 5_000;
const CONTROL_NAME = "control";

export async function startAgentServer(deps: Deps, address: string): Promise<{ port: number; close(): void }> {
  const server = new Server({ "grpc.max_receive_message_length": MESSAGE_MAX_BYTES, "grpc.max_send_message_length": MESSAGE_MAX_BYTES });
  const unary = (work: (request: never) => unknown) => (call: AnyCall, reply: sendUnaryData<unknown>) => {
    Promise.resolve()
      .then(() => {
        admit(call);
        return work(call.request as never);
      })
      .then(
        (value) => reply(null, value),
        (thrown) => reply(grpcError(thrown)),
      );
  };
  server.addService(serviceDefinition() as never, {
    Hello: unary(({ protocol }: { protocol: { major: number; minor: number } }) => {
      if (!speaks(protocol))
        deps.log(
          `A control plane with protocol ${protocol.major}.${protocol.minor} was answered; this agent speaks ${PROTOCOL.major}.${PROTOCOL.minor}.`,
        );
      return { protocol: PROTOCOL, node: deps.node };
    }),
    Apply: unary(({ machines, volumes, removeImages }: ApplyRequest) => {
      for (const volume of volumes) deps.volumes.apply(volume);
      for (const machine of machines) deps.lanes.apply(machine);
      for (const rootfs of removeImages) deps.images.remove(rootfs);
      return { accepted: machines.map((m) => m.id) };
    }),
    BuildTemplate: unary(async (shape: Shape) => ({ key: await deps.templates.build(shape) })),
    RemoveTemplates: unary(({ keys }: { keys: string[] }) => {
      for (const key of keys) deps.templates.remove(key);
      return {};
    }),
    Processes: unary(({ machine }: { machine: string }) => processes(deps, machine)),
    Stats: unary(({ machine }: { machine: string }) => stats(deps, machine)),
    Signal: unary(({ machine, signal }: { machine: string; signal: number }) => signalWorkload(deps, machine, signal)),
    PutImage: (call: ServerReadableStream<Buffer, unknown>, reply: sendUnaryData<unknown>) => {
      takeImage(deps, call).then(
        (taken) => reply(null, taken),
        (thrown) => reply(grpcError(thrown)),
      );
    },
    Commit: (call: ServerWritableStream<{ machine: string }, Uint8Array>) => void commit(deps, call),
    Observe: (call: ServerWritableStream<unknown, Observation>) => observe(deps, call),
    Open: (call: ServerDuplexStream<Buffer, Uint8Array>) => open(deps, call),
    Move: (call: ServerDuplexStream<Buffer, Uint8Array>) => takeMove(deps, call),
  });
  const { ca, key, cert } = deps.tls;
  const credentials = ServerCredentials.createSsl(
    Buffer.from(ca),
    [{ private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }],
    true,
  );
  const port = await new Promise<number>((done, fail) =>
    server.bindAsync(address, credentials, (error, bound) => (error ? fail(error) : done(bound))),
  );
  return { port, close: () => server.forceShutdown() };
}

/** The CA signs nodes too, and a node must not command another. */
function admit(call: Peer): void {
  const name = nameOf(call);
  if (name !== CONTROL_NAME) throw Object.assign(new Error(`Only the control plane may call this, not "${String(name)}".`), { grpc: 7 });
}

/** A machine that comes from another node: from that one, and no other. */
function takeMove(deps: Deps, call: ServerDuplexStream<Buffer, Uint8Array>): void {
  call.once("data", (first: Buffer) => {
    // What follows waits for whoever takes it.
    call.pause();
    try {
      const what = MoveStream.parse(JSON.parse(first.toString()));
      const lane = deps.lanes.get(what.machine);
      const move = lane?.record.desired.move;
      if (!lane || move?.role !== "target" || move.n !== what.n || move.peer.node !== nameOf(call))
        throw new HyperlaneError("FORBIDDEN", "This machine does not come here from there.");
      lane.moveStream(what, call as unknown as Stream);
    } catch (thrown) {
      call.emit("error", grpcError(thrown));
    }
  });
}

type Peer = { getAuthContext(): { sslPeerCertificate?: { subject?: { CN?: string | string[] } } } };

function nameOf(call: Peer): string | string[] | undefined {
  return call.getAuthContext().sslPeerCertificate?.subject?.CN;
}

function observe(deps: Deps, call: ServerWritableStream<unknown, Observation>): void {
  try {
    admit(call);
  } catch (thrown) {
    return void call.emit("error", grpcError(thrown));
  }
  const pending = new Set<string>();
  let sequence = 0;
  const send = (full: boolean, status: NodeStatus | null, ids: Iterable<string>): void => {
    const [volumes, machines] = [[], []] as [Observation["volumes"], Observation["machines"]];
    for (const id of ids) {
      const volume = isVolume(id) ? deps.volumes.observe(id) : undefined;
      const machine = isVolume(id) ? undefined : deps.lanes.observe(id);
      if (volume) volumes.push({ id, observed: volume });
      if (machine) machines.push({ id, observed: machine });
    }
    call.write({ sequence: ++sequence, status, full, machines, volumes });
  };
  const all = (): string[] => [...deps.lanes.ids(), ...deps.volumes.ids()];
  let scheduled = false;
  const flush = (): void => {
    scheduled = false;
    const ids = [...pending];
    pending.clear();
    send(false, ids.length ? null : deps.status(), ids);
  };
  const changed = (id: string): void => {
    pending.add(id);
    if (!scheduled) setImmediate(flush);
    scheduled = true;
  };
  const stops = [deps.lanes.onChange(changed), deps.volumes.onChange(changed)];
  const sendStatus = (): void => send(false, deps.status(), []);
  stops.push(deps.images.onArrival(sendStatus), deps.templates.onChange(sendStatus), deps.spares.onChange(sendStatus));
  const beat = setInterval(() => send(true, deps.status(), all()), HEARTBEAT_MS);
  send(true, deps.status(), all());
  const end = (): void => {
    for (const stop of stops) stop();
    clearInterval(beat);
  };
  call.on("cancelled", end).on("error", end).on("close", end);
}

function open(deps: Deps, call: ServerDuplexStream<Buffer, Uint8Array>): void {
  type Stream = Awaited<ReturnType<typeof openStream>>;
  let stream: Promise<Stream> | undefined;
  let over = false;
  const fail = (thrown: unknown): void => {
    over = true;
    call.emit("error", grpcError(thrown));
  };
  /** Once it is open; one that could not be opened has said so. */
  const then = (use: (s: Stream) => void): void => void stream?.then(use, () => {});
  call.on("data", (bytes: Buffer) => {
    try {
      if (stream) return then((s) => s.take(bytes[0] ?? 0, bytes.subarray(1)));
      admit(call);
      stream = openStream(call, bytes, deps);
      stream.catch(fail);
    } catch (thrown) {
      fail(thrown);
    }
  });
  const end = (): void => {
    if (!over) then((s) => s.close());
    over = true;
  };
  call
    .on("cancelled", end)
    .on("error", end)
    .on("end", () => (stream ? then(() => call.end()) : call.end()));
}

async function takeImage(deps: Deps, call: ServerReadableStream<Buffer, unknown>): Promise<{ again: boolean }> {
  admit(call);
  const messages = (call as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const first = await messages.next();
  const head = ImageHead.parse(JSON.parse(Buffer.from(first.value ?? "").toString()));
  return await deps.images.receive(head, { [Symbol.asyncIterator]: () => messages });
}

async function commit(deps: Deps, call: ServerWritableStream<{ machine: string }, Uint8Array>): Promise<void> {
  try {
    admit(call);
    const lane = deps.lanes.get(call.request.machine);
    if (!lane) throw new HyperlaneError("NOT_FOUND", "This machine is not on this node.");
    for await (const bytes of lane.commit(deps.workDir)) {
      if (call.cancelled) return;
      if (!call.write(Buffer.from(bytes))) await new Promise((done) => call.once("drain", done).once("cancelled", done));
    }
    call.end();
  } catch (thrown) {
    call.emit("error", grpcError(thrown));
  }
}

function channelOf(deps: Deps, id: string) {
  const channel = deps.lanes.get(id)?.channel;
  if (!channel) throw new HyperlaneError("STATE", "The machine does not run.");
  return channel;
}

async function signalWorkload(deps: Deps, id: string, signal: number): Promise<object> {
  const lane = deps.lanes.get(id);
  if (lane?.record.desired.workload.kind === "system")
    throw new HyperlaneError("STATE", "This machine runs an init of its own, which takes no signals from outside.", {
      hint: "`vps stop NAME` shuts it down; `vps exec NAME -- kill ...` signals a process in it.",
    });
  await lane?.awake();
  await channelOf(deps, id).ask(F.KILL, Buffer.from([signal]), 5_000);
  return {};
}

async function processes(deps: Deps, id: string) {
  return { items: decodeProcesses(await channelOf(deps, id).ask(F.STATS, Buffer.from([1]), 10_000)) };
}

async function stats(deps: Deps, id: string) {
  const channel = channelOf(deps, id);
  const lane = deps.lanes.get(id)!;
  const out = await channel.ask(F.STATS, Buffer.alloc(0), 5_000);
  const value = (i: number): number => Number(out.readBigUInt64LE(i * 8));
  const mib = (i: number): number => Math.round(value(i) / 2 ** 20);
  return {
    uptimeS: value(0),
    memoryMib: mib(1),
    memoryFreeMib: mib(2),
    load1: value(3) / 65536,
    diskMib: mib(4),
    diskFreeMib: mib(5),
    ...lane.counted(),
    ...(await lane.usage()),
  };
}
