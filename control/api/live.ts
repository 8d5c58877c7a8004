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
import { encodeMessage, F } from "#contract/wire/frames.ts";
import { fromGrpc } from "#control/agents/connections.ts";
import type { StoredEvent } from "#control/model/state.ts";
import { demand, machineOf, type Deps, type LiveName } from "./handler.ts";

export type Session = {
  name: LiveName;
  params: Record<string, string>;
  query: unknown;
  stream?: ClientDuplexStream<Buffer, Buffer>;
  stop?: () => void;
};
type Socket = ServerWebSocket<Session>;

/** A client that reads events this much slower than they come is cut off; it can go on from the last number it saw. */
const EVENTS_BEHIND_BYTES = 8 * 1024 * 1024;

export function createLive(deps: Deps) {
  return {
    open(ws: Socket): void {
      try {
        if (ws.data.name === "watchEvents") watch(ws, deps);
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
      ws.data.stop?.();
      ws.data.stream?.cancel();
    },
  };
}

function fail(ws: Socket, thrown: unknown): void {
  const error = toHyperlaneError(thrown);
  if (ws.data.name === "watchEvents") ws.send(JSON.stringify({ error }));
  else ws.send(encodeMessage(F.ERROR, Buffer.from(JSON.stringify(error))));
  ws.close(1011);
}

/** From `after` (default: now), first what the log holds, then what comes; no gap and no double in between. */
function watch(ws: Socket, { store }: Deps): void {
  const { after = store.lastSeq } = ws.data.query as Query<"watchEvents">;
  let sent = after;
  const send = (events: StoredEvent[]): void => {
    for (const event of events) {
      if (event.seq <= sent) continue;
      sent = event.seq;
      ws.send(JSON.stringify(event));
    }
    if (ws.getBufferedAmount() > EVENTS_BEHIND_BYTES)
      fail(ws, new HyperlaneError("TOO_LARGE", "This client reads events too slowly.", { hint: `Connect again with after=${sent}.` }));
  };
  ws.data.stop = store.subscribe(send);
  for (let page = store.events(sent, 1000); page.length; page = store.events(sent, 1000)) send(page);
}

function relay(ws: Socket, deps: Deps): void {
  const machine = machineOf(deps.store.state, ws.data.params);
  const { name, query } = ws.data;
  demand(machine, name === "machineLogs" ? "logs" : name === "machineCopy" ? "copy" : name === "machineTunnel" ? "tunnel" : "exec");
  if (machine.node === null)
    throw new HyperlaneError("STATE", `The machine "${machine.name}" is on no node yet.`, { hint: machine.reason ?? undefined });
  const stream = deps.connections.open(machine.node, openRequest(name, machine, query));
  ws.data.stream = stream;
  let ended = false;
  stream.on("data", (bytes: Buffer) => ws.send(bytes));
  stream.on("error", (error) => {
    if (!ended && ws.readyState === WebSocket.OPEN) fail(ws, fromGrpc(error as never, { name: machine.node! }));
    ended = true;
  });
  stream.on("end", () => {
    if (!ended) ws.close(1000);
    ended = true;
  });
}

function openRequest(name: LiveName, machine: { id: string; spec: { env: Record<string, string> } }, query: unknown): OpenRequest {
  if (name === "machineExec") {
    const { argv, workdir = "/root", ...rest } = query as Query<"machineExec">;
    return { kind: "exec", machine: machine.id, argv, env: machine.spec.env, workdir, ...rest };
  }
  if (name === "machineCopy") {
    const { direction, path } = query as Query<"machineCopy">;
    return { kind: direction === "in" ? "write" : "read", machine: machine.id, path };
  }
  if (name === "machineTunnel") return { kind: "tunnel", machine: machine.id, port: (query as Query<"machineTunnel">).port };
  return { kind: "logs", machine: machine.id, ...(query as Query<"machineLogs">) };
}
