/** The Open call: exec, copies, tunnels and logs. The far end's messages are passed on; windows are end to end. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { createReadStream, existsSync, statSync, watch } from "node:fs";
import { createConnection } from "node:net";
import { HyperlaneError } from "#contract/errors.ts";
import { OpenRequest } from "#contract/wire/agent.ts";
import { encodeExec, encodeExit, encodeMessage, encodeU32, F, WINDOW } from "#contract/wire/frames.ts";
import type { Lane } from "#agent/machine/lane.ts";
import type { Lanes } from "#agent/machine/lanes.ts";

type Duplex = ServerDuplexStream<Buffer, Buffer>;
const CHUNK = 16384;

/** Starts what the first message asks for; returns what takes the later ones. */
export function openStream(
  call: Duplex,
  first: Buffer,
  lanes: Lanes,
  logsDir: string,
): { take(type: number, payload: Buffer): void; close(): void } {
  const request = OpenRequest.parse(JSON.parse(first.toString()));
  const lane = lanes.get(request.machine);
  if (!lane) throw new HyperlaneError("NOT_FOUND", "This machine is not on this node.");
  switch (request.kind) {
    case "exec":
      return guest(call, lane, F.EXEC, encodeExec(request));
    case "read":
      return guest(call, lane, F.READ, Buffer.from(`${request.path}\0`));
    case "write":
      return guest(call, lane, F.WRITE, Buffer.from(`${request.path}\0`));
    case "tunnel":
      return tunnel(call, lane, request.port);
    case "logs":
      return logs(call, `${logsDir}/${lane.id}/${request.source}.log`, request);
  }
}

function guest(call: Duplex, lane: Lane, type: number, payload: Buffer) {
  if (!lane.channel) throw new HyperlaneError("STATE", "The machine does not run.");
  const stream = lane.channel.open(type, payload, (t, p) => {
    call.write(encodeMessage(t, p));
    if (t === F.EXIT) call.end();
  });
  return {
    take: (t: number, p: Buffer) => stream.send(t, p),
    close: () => stream.send(F.SIGNAL, Buffer.from([1])), // SIGHUP, as a closed terminal would
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

/** The last `tail` lines, and with follow what is appended after. A trimmed file is read from its start again. */
function logs(call: Duplex, path: string, { follow, tail }: { follow: boolean; tail: number }) {
  let at = 0;
  let credit = WINDOW;
  let reading = false;
  let closed = false;
  const end = (): void => {
    if (closed) return;
    closed = true;
    watcher?.close();
    call.write(encodeMessage(F.EXIT, encodeExit({ kind: "code", value: 0, text: "" })));
    call.end();
  };
  const pump = async (): Promise<void> => {
    if (reading || closed) return;
    reading = true;
    const size = existsSync(path) ? statSync(path).size : 0;
    if (size < at) at = 0;
    while (!closed && credit > 0 && at < size) {
      const to = Math.min(size, at + Math.min(CHUNK, credit));
      for await (const bytes of createReadStream(path, { start: at, end: to - 1 })) call.write(encodeMessage(F.STDOUT, bytes as Buffer));
      credit -= to - at;
      at = to;
    }
    reading = false;
    if (!follow && at >= size) end();
  };
  const watcher = follow && existsSync(path) ? watch(path, () => void pump()) : undefined;
  void tailOffset(path, tail).then((offset) => {
    at = offset;
    return pump();
  });
  return {
    take(type: number, payload: Buffer): void {
      if (type !== F.CREDIT) return;
      credit += payload.readUInt32LE(0);
      void pump();
    },
    close(): void {
      closed = true;
      watcher?.close();
    },
  };
}

async function tailOffset(path: string, lines: number): Promise<number> {
  if (!existsSync(path)) return 0;
  let at = statSync(path).size;
  let left = lines + 1;
  const file = Bun.file(path);
  while (at > 0 && left > 0) {
    const from = Math.max(0, at - 65536);
    const bytes = Buffer.from(await file.slice(from, at).arrayBuffer());
    for (let i = bytes.length - 1; i >= 0; i--) if (bytes[i] === 10 && --left === 0) return from + i + 1;
    at = from;
  }
  return 0;
}
