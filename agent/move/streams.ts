/**
 * The streams of a machine's way between two agents: gRPC over mTLS, the source dials. A node lets in only that other node from which
 * this very machine is to come.
 */
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { createServer, type Server, type Socket } from "node:net";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { MESSAGE_MAX_BYTES, serviceDefinition, type Move, type MoveStream } from "#contract/wire/agent.ts";

export type Tls = { ca: string; key: string; cert: string };
/** As gRPC gives it: messages of bytes, both ways. */
export type Stream = Duplex & { cancel?(): void };

const SERVICE = serviceDefinition().Move;

/** The way to the other end. */
export function dialPeer({ node, address }: Move["peer"], tls: Tls) {
  const client = new Client(address, credentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.cert)), {
    "grpc.ssl_target_name_override": node,
    "grpc.default_authority": node,
    "grpc.max_receive_message_length": MESSAGE_MAX_BYTES,
    "grpc.max_send_message_length": MESSAGE_MAX_BYTES,
  });
  return {
    open(what: MoveStream): Stream {
      const stream = client.makeBidiStreamRequest(SERVICE.path, SERVICE.requestSerialize, SERVICE.responseDeserialize) as unknown as Stream;
      stream.write(Buffer.from(JSON.stringify(what)));
      return stream;
    },
    close: () => client.close(),
  };
}

export function whyLost(thrown: unknown): HyperlaneError {
  const { details, message } = thrown as ServiceError;
  return new HyperlaneError("UNAVAILABLE", `The way to the other node broke: ${details || message}`, { cause: thrown });
}

/** Both ways, until either ends. */
export function join(a: Stream, b: Socket): void {
  const over = (): void => {
    b.destroy();
    // Who has dialled breaks it off, who was dialled ends it.
    if (a.cancel) a.cancel();
    else a.end();
  };
  a.on("data", (bytes: Buffer) => {
    if (b.write(bytes)) return;
    a.pause();
    b.once("drain", () => a.resume());
  });
  b.on("data", (bytes: Buffer) => {
    if (a.write(bytes)) return;
    b.pause();
    a.once("drain", () => b.resume());
  });
  a.on("end", () => b.end())
    .on("error", over)
    .resume();
  b.on("end", () => a.end()).on("error", over);
}

/** Tells the other end, who waits for it to be taken, that it is not. */
export function refuse(stream: Stream, thrown: unknown): void {
  stream.emit("error", toHyperlaneError(thrown));
}

/** A socket at which a VMM finds what is at the other end of a stream. */
export async function serveAt(path: string, open: () => Stream): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => join(open(), socket));
  server.listen(path);
  await once(server, "listening");
  return server;
}

/** All of it, and then nothing more; resolves once the other end has said that it has it. */
export async function sendAll(stream: Stream, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream
    .on("data", () => {})
    .on("end", resolve)
    .on("error", (e) => reject(whyLost(e)));
  for await (const chunk of bytes) if (!stream.write(chunk)) await Promise.race([once(stream, "drain"), promise]);
  stream.end();
  await promise;
}
