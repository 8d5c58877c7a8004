/**
 * Connections to node agents: gRPC with mTLS, this side dials. A lost one is dialled again with back-off; while
 * it is down the node counts as not connected and nothing is sent to it.
 */
import { Client, credentials, Metadata, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import {
  MESSAGE_MAX_BYTES,
  METHODS,
  PROTOCOL,
  serviceDefinition,
  speaks,
  type ApplyRequest,
  type ImageHead,
  type MethodName,
  type Observation,
  type OpenRequest,
} from "#contract/wire/agent.ts";
import { fromErrorBody, HyperlaneError } from "#contract/errors.ts";
import type { Node } from "#contract/resources/other.ts";
import type { KeyAndCertificate } from "#control/auth/pki.ts";
import type { TemplateShape } from "#contract/resources/template.ts";
import type { z } from "zod";

type Shape = z.output<typeof TemplateShape>;

export type Connections = ReturnType<typeof createConnections>;
type Deps = {
  ca: string;
  identity: KeyAndCertificate;
  session(node: string): { observe(observation: Observation): void; lost(reason: string): void };
  log(line: string): void;
};
type Reply<N extends MethodName> = (typeof METHODS)[N]["reply"] extends z.ZodType
  ? z.output<Exclude<(typeof METHODS)[N]["reply"], null>>
  : never;

const SERVICE = serviceDefinition();
/** An agent reports at least this often; three silent periods mean it is gone. */
const HEARTBEAT_MS = 5_000;
const TEMPLATE_MS = 5 * 60_000;
const DIAL_MIN_MS = 100;
const DIAL_MAX_MS = 5_000;

export function createConnections(deps: Deps) {
  const links = new Map<string, ReturnType<typeof createLink>>();
  return {
    /** Starts dialling a node and keeps at it. */
    add(node: Node): void {
      if (!links.has(node.id)) links.set(node.id, createLink(node, deps));
    },
    remove(id: string): void {
      links.get(id)?.close();
      links.delete(id);
    },
    async apply(node: string, request: ApplyRequest): Promise<void> {
      await link(node).call("Apply", request);
    },
    processes: (node: string, machine: string) => link(node).call("Processes", { machine }),
    stats: (node: string, machine: string) => link(node).call("Stats", { machine }),
    signal: (node: string, machine: string, signal: number) => link(node).call("Signal", { machine, signal }),
    buildTemplate: (node: string, shape: Shape) => link(node).call("BuildTemplate", shape, TEMPLATE_MS),
    removeTemplates: (node: string, keys: string[]) => link(node).call("RemoveTemplates", { keys }),
    putImage: (node: string, head: ImageHead, blobs: AsyncIterable<Uint8Array>) => link(node).putImage(head, blobs),
    commit: (node: string, machine: string) => link(node).commit(machine),
    open: (node: string, request: OpenRequest) => link(node).open(request),
    close(): void {
      for (const l of links.values()) l.close();
    },
  };

  function link(node: string): ReturnType<typeof createLink> {
    const found = links.get(node);
    if (!found) throw new HyperlaneError("UNAVAILABLE", `The node "${node}" is not connected.`);
    return found;
  }
}

function createLink(node: Node, deps: Deps) {
  const client = new Client(
    node.address,
    credentials.createSsl(Buffer.from(deps.ca), Buffer.from(deps.identity.key), Buffer.from(deps.identity.cert)),
    {
      // The node's name in its certificate is its id, whatever address it is reached at.
      "grpc.ssl_target_name_override": node.id,
      "grpc.default_authority": node.id,
      "grpc.max_receive_message_length": MESSAGE_MAX_BYTES,
      "grpc.max_send_message_length": MESSAGE_MAX_BYTES,
      "grpc.initial_reconnect_backoff_ms": DIAL_MIN_MS,
      "grpc.max_reconnect_backoff_ms": DIAL_MAX_MS,
    },
  );
  let closed = false;
  let wait = DIAL_MIN_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function call<N extends "Hello" | "Apply" | "Stats" | "Processes" | "Signal" | "BuildTemplate" | "RemoveTemplates">(
    name: N,
    request: unknown,
    timeoutMs = 10_000,
  ): Promise<Reply<N>> {
    const m = SERVICE[name];
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        m.path,
        m.requestSerialize,
        m.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, reply) => (error ? reject(fromGrpc(error, node)) : resolve(reply as Reply<N>)),
      ),
    );
  }

  async function observe(session: ReturnType<Deps["session"]>): Promise<void> {
    const hello = await call("Hello", { protocol: PROTOCOL }, 2_000);
    if (!speaks(hello.protocol))
      throw new HyperlaneError(
        "UNSUPPORTED",
        `The agent of ${node.name} speaks protocol ${hello.protocol.major}.${hello.protocol.minor}, this control plane ${PROTOCOL.major}.${PROTOCOL.minor}.`,
        { hint: "Upgrade the older of the two." },
      );
    const m = SERVICE.Observe;
    const stream = client.makeServerStreamRequest(m.path, m.requestSerialize, m.responseDeserialize, {});
    await new Promise<void>((_, reject) => {
      let silence = setTimeout(() => stream.cancel(), 3 * HEARTBEAT_MS);
      stream.on("data", (observation: Observation) => {
        wait = DIAL_MIN_MS;
        clearTimeout(silence);
        silence = setTimeout(() => stream.cancel(), 3 * HEARTBEAT_MS);
        session.observe(observation);
      });
      const end = (error: Error): void => {
        clearTimeout(silence);
        reject(error);
      };
      stream.on("error", (e: ServiceError) => end(fromGrpc(e, node)));
      stream.on("end", () => end(new HyperlaneError("UNAVAILABLE", "the agent ended the stream")));
    });
  }

  async function keepObserving(): Promise<void> {
    let last = "";
    while (!closed) {
      const session = deps.session(node.id);
      const reason = await observe(session).then(
        () => "",
        (e: Error) => e.message,
      );
      if (closed) return;
      if (reason !== last) deps.log(`node ${node.name}: ${reason}`);
      last = reason;
      session.lost(reason);
      await new Promise((done) => (timer = setTimeout(done, wait)));
      wait = Math.min(wait * 2, DIAL_MAX_MS);
    }
  }
  void keepObserving();

  return {
    call,
    putImage(head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<z.output<typeof METHODS.PutImage.reply>> {
      const m = SERVICE.PutImage;
      return new Promise((resolve, reject) => {
        const stream = client.makeClientStreamRequest(m.path, m.requestSerialize, m.responseDeserialize, (error, reply) =>
          error ? reject(fromGrpc(error, node)) : resolve(reply as never),
        );
        const feed = async (): Promise<void> => {
          stream.write(Buffer.from(JSON.stringify(head)));
          for await (const bytes of blobs) if (!stream.write(bytes)) await new Promise((done) => stream.once("drain", done));
          stream.end();
        };
        feed().catch((thrown) => {
          stream.cancel();
          reject(thrown);
        });
      });
    },
    commit(machine: string): AsyncIterable<Uint8Array> {
      const m = SERVICE.Commit;
      const stream = client.makeServerStreamRequest(m.path, m.requestSerialize, m.responseDeserialize, { machine });
      return (async function* () {
        try {
          for await (const bytes of stream) yield bytes as Buffer;
        } catch (thrown) {
          throw fromGrpc(thrown as ServiceError, node);
        }
      })();
    },
    open(request: OpenRequest): ClientDuplexStream<Uint8Array, Buffer> {
      const m = SERVICE.Open;
      const stream = client.makeBidiStreamRequest(m.path, m.requestSerialize, m.responseDeserialize) as ClientDuplexStream<
        Uint8Array,
        Buffer
      >;
      stream.write(Buffer.from(JSON.stringify(request)));
      return stream;
    },
    close(): void {
      closed = true;
      clearTimeout(timer);
      client.close();
    },
  };
}

/** The agent puts our error's JSON in the status text; anything else is the transport's. */
export function fromGrpc(error: ServiceError, node: { name: string }): HyperlaneError {
  try {
    return fromErrorBody(JSON.parse(error.details));
  } catch {
    return new HyperlaneError("UNAVAILABLE", `The node ${node.name} does not answer: ${error.details || error.message}`, {
      hint: "Run `vps node list`, and `vps doctor` on that host.",
      cause: error,
    });
  }
}
