/** The Open call: exec, copies, tunnels and logs. The far end's messages are passed on; windows are end to end. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { createConnection } from "node:net";
import { ERRORS, HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { OpenRequest } from "#contract/wire/agent.ts";
import { encodeExec } from "#contract/wire/frames.ts";
import { encodeExit, encodeMessage, encodeResize, encodeU32, F, WINDOW } from "#contract/wire/messages.ts";
import type { Lane } from "#agent/machine/lane.ts";
import type { Lanes } from "#agent/machine/lanes.ts";
import type { Volumes } from "#agent/storage/volumes.ts";
import { streamLogs } from "./logstream.ts";

type Duplex = ServerDuplexStream<Buffer, Uint8Array>;
const CHUNK = 16384;
const ANSWER_MS = 5_000;
/** As a closed terminal would send. */
const HANGUP = 1;

/** Starts what the first message asks for; returns what takes the later ones. */
export async function openStream(
  call: Duplex,
  first: Buffer,
  { lanes, volumes, logsDir }: { lanes: Lanes; volumes: Volumes; logsDir: string },
): Promise<{ take(type: number, payload: Buffer): void; close(): void }> {
  const request = OpenRequest.parse(JSON.parse(first.toString()));
  if (request.kind === "import") return importInto(call, request.volume, volumes);
  const lane = lanes.get(request.machine);
  if (!lane) throw new HyperlaneError("NOT_FOUND", "This machine is not on this node.");
  if (request.kind !== "logs" && request.kind !== "tunnel") {
    await lane.awake();
    if (lane.record.phase === "running") await lane.channel?.answers(ANSWER_MS);
  }
  switch (request.kind) {
    case "exec":
      return guest(call, lane, F.EXEC, encodeExec({ ...request, ...surroundings(lane, request) }), HANGUP);
    case "attach":
      return guest(call, lane, F.ATTACH, encodeResize(request.rows, request.cols), null);
    case "read":
      return guest(call, lane, F.READ, Buffer.from(`${request.path}\0`), HANGUP);
    case "write":
      return guest(call, lane, F.WRITE, Buffer.from(`${request.path}\0${request.owners ? "owners\0" : ""}`), HANGUP);
    case "tunnel":
      return tunnel(call, lane, request.port);
    case "logs":
      return streamLogs(call, lane, lanes, logsDir, request);
  }
}

/** What a command finds there, as the workload does, or a root shell in a machine with an init of its own. */
function surroundings(lane: Lane, asked: { env: string[]; workdir: string | null; user: string | null }) {
  const { workload, spec } = lane.record.desired;
  const own =
    workload.kind === "process" ? workload : { env: Object.entries(spec.env).map(([k, v]) => `${k}=${v}`), workdir: "/root", user: "root" };
  return { env: [...own.env, ...asked.env], workdir: asked.workdir ?? own.workdir, user: asked.user ?? own.user };
}

/** left: the signal that its command gets when the one who asked has left; null: it is the workload's, and none. */
function guest(call: Duplex, lane: Lane, type: number, payload: Uint8Array, left: number | null) {
  if (!lane.channel) throw new HyperlaneError("STATE", "The machine does not run.");
  const leave = lane.enter();
  const stream = lane.channel.open(type, payload, (t, p) => {
    call.write(encodeMessage(t, p));
    if (t !== F.EXIT) return;
    leave();
    call.end();
  });
  return {
    take: (t: number, p: Buffer) => stream.send(t, p),
    close(): void {
      leave();
      if (left !== null) stream.send(F.SIGNAL, Buffer.from([left]));
    },
  };
}

/** An archive into a volume: taken as fast as it is unpacked. One that breaks off changes nothing. */
function importInto(call: Duplex, volume: string, volumes: Volumes) {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 }, { highWaterMark: 0 });
  const writer = writable.getWriter();
  volumes.import(volume, readable as unknown as AsyncIterable<Uint8Array>).then(
    () => {
      call.write(encodeMessage(F.EXIT, encodeExit({ kind: "code", value: 0, text: "" })));
      call.end();
    },
    (thrown) => void call.emit("error", grpcError(thrown)),
  );
  return {
    take(type: number, payload: Buffer): void {
      const credit = (): void => void call.write(encodeMessage(F.CREDIT_BACK, encodeU32(payload.length)));
      if (type === F.STDIN) writer.write(payload).then(credit, () => {});
      if (type === F.EOF) writer.close().catch(() => {});
    },
    close: () => void writer.abort(new HyperlaneError("UNAVAILABLE", "The one who sent the archive has left.")).catch(() => {}),
  };
}

/** A TCP connection to the machine, over the bridge. Each side's window is given back as the other side takes the bytes. */
function tunnel(call: Duplex, lane: Lane, port: number) {
  const socket = createConnection({ host: lane.addresses().address4, port, allowHalfOpen: true });
  let credit = WINDOW;
  socket.setNoDelay(true);
  socket.on("data", (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += CHUNK) call.write(encodeMessage(F.STDOUT, bytes.subarray(at, at + CHUNK)));
    credit -= bytes.length;
    if (credit <= 0) socket.pause();
  });
  const end = (exit: Parameters<typeof encodeExit>[0]): void => {
    call.write(encodeMessage(F.EXIT, encodeExit(exit)));
    call.end();
  };
  let ended = false;
  socket.on("error", (error) => {
    if (!ended) end({ kind: "errno", value: 111, text: `Cannot reach port ${port}: ${error.message}` });
    ended = true;
  });
  socket.on("end", () => {
    if (!ended) end({ kind: "code", value: 0, text: "" });
    ended = true;
  });
  return {
    take(type: number, payload: Buffer): void {
      if (type === F.STDIN)
        socket.write(payload, () => void (ended || call.write(encodeMessage(F.CREDIT_BACK, encodeU32(payload.length)))));
      if (type === F.EOF) socket.end();
      if (type === F.CREDIT) {
        credit += payload.readUInt32LE(0);
        if (credit > 0) socket.resume();
      }
    },
    close: () => void socket.destroy(),
  };
}

export function grpcError(thrown: unknown): { code: number; details: string } {
  const error = toHyperlaneError(thrown);
  return { code: (thrown as { grpc?: number }).grpc ?? ERRORS[error.code].grpc, details: JSON.stringify(error) };
}
