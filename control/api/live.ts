/**
 * Live streams over WebSocket. Events are JSON texts; everything else is binary messages (`type:u8 payload`)
 * passed through between the user and the agent. Windows are end to end, so this hop holds at most one per
 * direction and stream.
 */
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { ServerWebSocket } from "bun";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Query } from "#contract/schemas.ts";
import type { OpenRequest } from "#contract/wire/agent.ts";
import { encodeMessage, F } from "#contract/wire/messages.ts";
import type { Image } from "#contract/resources/image.ts";
import { findImage } from "#control/images/catalog.ts";
import type { Credentials } from "#oci/session.ts";
import type { OnProgress } from "#oci/transfer.ts";
import { fromGrpc } from "#control/agents/connections.ts";
import type { NewEvent } from "#control/model/state.ts";
import { demand, machineOf, type Deps, type LiveName } from "./handler.ts";
import { demandAtRest, volumeOf } from "./volumes.ts";
import { watchChanges, watchEvents } from "./watch.ts";

export type Session = {
  name: LiveName;
  params: Record<string, string>;
  query: unknown;
  /** The API token's id; and the session's, where a browser asks. */
  token: string;
  session: string | undefined;
  /** For a registry, as Docker's X-Registry-Auth header carries them. */
  credentials?: Credentials | undefined;
  stream?: ClientDuplexStream<Uint8Array, Buffer>;
  stop?: () => void;
};
type Socket = ServerWebSocket<Session>;

/** Of a WebSocket whose token or session is no more: policy violation (RFC 6455, 7.4.1). */
const REVOKED = 1008;

export function createLive(deps: Deps) {
  const sockets = new Set<Socket>();
  deps.store.subscribe((events) => {
    for (const event of events)
      if (event.type === "v1.TokenRemoved" || event.type === "v1.SessionClosed")
        for (const ws of sockets) if (event.subject === ws.data.token || event.subject === ws.data.session) ws.close(REVOKED);
  });
  return {
    open(ws: Socket): void {
      sockets.add(ws);
      try {
        if (ws.data.name === "watchEvents") ws.data.stop = watchEvents(ws, deps);
        else if (ws.data.name === "watchChanges") ws.data.stop = watchChanges(ws, deps);
        else if (ws.data.name === "pullImage" || ws.data.name === "pushImage") void transfer(ws, deps);
        else relay(ws, deps);
      } catch (thrown) {
        fail(ws, thrown);
      }
    },
    message(ws: Socket, message: string | Buffer): void {
      if (typeof message === "string" || !ws.data.stream) return;
      ws.data.stream.write(Buffer.from(message));
    },
    close(ws: Socket): void {
      sockets.delete(ws);
      ws.data.stop?.();
      ws.data.stream?.cancel();
    },
  };
}

function fail(ws: Socket, thrown: unknown): void {
  const error = toHyperlaneError(thrown);
  if (["watchEvents", "watchChanges", "pullImage", "pushImage"].includes(ws.data.name)) ws.send(JSON.stringify({ error }));
  else ws.send(encodeMessage(F.ERROR, Buffer.from(JSON.stringify(error))));
  ws.close(1011);
}

function relay(ws: Socket, deps: Deps): void {
  const { node, request } = ws.data.name === "importVolume" ? importing(ws.data, deps) : inMachine(ws.data, deps);
  const stream = deps.connections.open(node, request);
  ws.data.stream = stream;
  let ended = false;
  stream.on("data", (bytes: Buffer) => ws.send(bytes));
  stream.on("error", (error) => {
    if (!ended && ws.readyState === WebSocket.OPEN) fail(ws, fromGrpc(error as never, { name: node }));
    ended = true;
  });
  stream.on("end", () => {
    if (!ended) ws.close(1000);
    ended = true;
  });
}

function inMachine({ name, params, query }: Session, { store }: Deps): { node: string; request: OpenRequest } {
  const machine = machineOf(store.state, params);
  demand(machine, name === "machineLogs" ? "logs" : name === "machineCopy" ? "copy" : name === "machineTunnel" ? "tunnel" : "exec");
  if (machine.node === null)
    throw new HyperlaneError("STATE", `The machine "${machine.name}" is on no node yet.`, { hint: machine.reason ?? undefined });
  return { node: machine.node, request: openRequest(name, machine, query) };
}

/** What comes next goes into the volume, which is placed now where it was not yet. */
function importing({ params, token }: Session, { store }: Deps): { node: string; request: OpenRequest } {
  const volume = volumeOf(store.state, params);
  demandAtRest(store.state, volume);
  const events: NewEvent[] = [{ type: "v1.VolumeImported", subject: volume.id, actor: token, data: {} }];
  let node = volume.node;
  if (node === null) {
    const free = [...store.state.node.values()].filter((n) => n.connected && n.status && !n.draining);
    node = free.sort((a, b) => b.status!.diskFreeMib - a.status!.diskFreeMib)[0]?.id ?? null;
    if (node === null) throw new HyperlaneError("NO_CAPACITY", "No node is connected.");
    events.push({ type: "v1.VolumePlaced", subject: volume.id, actor: token, data: { node } });
  }
  store.append(events).catch(() => {});
  return { node, request: { kind: "import", volume: volume.id } };
}

function openRequest(name: LiveName, { id: machine }: { id: string }, query: unknown): OpenRequest {
  switch (name) {
    case "machineExec": {
      const { workdir = null, user = null, env = [], ...rest } = query as Query<"machineExec">;
      return { kind: "exec", machine, workdir, user, env, ...rest };
    }
    case "machineCopy": {
      const { direction, path, owners } = query as Query<"machineCopy">;
      return direction === "in" ? { kind: "write", machine, path, owners } : { kind: "read", machine, path };
    }
    case "machineTunnel":
      return { kind: "tunnel", machine, ...(query as Query<"machineTunnel">) };
    case "machineAttach":
      return { kind: "attach", machine, ...(query as Query<"machineAttach">) };
    default: {
      const { source = null, tail = null, since = null, until = null, ...rest } = query as Query<"machineLogs">;
      return { kind: "logs", machine, source, tail, since, until, ...rest };
    }
  }
}

/** Progress as JSON texts, one a layer and step; the last message is the image. Whoever leaves ends the pull, unless others wait for it. */
async function transfer(ws: Socket, deps: Deps): Promise<void> {
  const ended = new AbortController();
  ws.data.stop = () => ended.abort(new HyperlaneError("UNAVAILABLE", "The one who asked for it has left."));
  const on: OnProgress = (progress) => void (ws.readyState === WebSocket.OPEN && ws.send(JSON.stringify({ progress })));
  try {
    const image = ws.data.name === "pullImage" ? await pull(ws.data, deps, ended.signal, on) : await push(ws.data, deps, on);
    ws.send(JSON.stringify({ image }));
    ws.close(1000);
  } catch (thrown) {
    if (ws.readyState === WebSocket.OPEN) fail(ws, thrown);
  }
}

async function pull(session: Session, { images, store }: Deps, signal: AbortSignal, on: OnProgress): Promise<Image> {
  const { image, ...how } = session.query as Query<"pullImage">;
  const id = await images.pull(image, { ...how, credentials: session.credentials, actor: session.token, signal }, on);
  return store.state.image.get(id)!;
}

async function push(session: Session, { images, store }: Deps, on: OnProgress): Promise<Image> {
  const { image: name, insecure } = session.query as Query<"pushImage">;
  const image = findImage(store.state, name, name);
  if (image.state !== "ready" || image.digest === null) throw new HyperlaneError("STATE", `The image "${name}" is ${image.state}.`);
  await images.push(name, image.digest, { insecure, credentials: session.credentials }, on);
  return image;
}
