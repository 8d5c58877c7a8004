/** Docker's Engine API over its Unix socket (docs.docker.com/reference/api/engine, v1.41): JSON, and streams in its framing. */
import { request as httpRequest, type IncomingMessage } from "node:http";

/** The version that every engine since 20.10 speaks. */
const VERSION = "v1.41";

/** status: of HTTP; 0: the engine was not reached. */
export class EngineError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export type Body = object | AsyncIterable<Uint8Array>;
export type Engine = {
  readonly socket: string;
  /** The answer as JSON; undefined: it was empty. Throws EngineError where the status is not 2xx or 304. */
  call<T = unknown>(method: string, path: string, body?: Body): Promise<T>;
  /** The answer as it comes. */
  stream(method: string, path: string, body?: Body, signal?: AbortSignal): Promise<IncomingMessage>;
};

export function openEngine(socket: string): Engine {
  async function stream(method: string, path: string, body?: Body, signal?: AbortSignal): Promise<IncomingMessage> {
    const answer = await send(socket, method, path, body, signal);
    const status = answer.statusCode ?? 0;
    if ((status >= 200 && status < 300) || status === 304) return answer;
    throw new EngineError(status, messageOf(await textOf(answer)) ?? `${method} ${path} was answered with ${status}`);
  }
  return {
    socket,
    stream,
    async call<T>(method: string, path: string, body?: Body): Promise<T> {
      const text = await textOf(await stream(method, path, body));
      return (text.trim() === "" ? undefined : JSON.parse(text)) as T;
    },
  };
}

function send(socketPath: string, method: string, path: string, body: Body | undefined, signal?: AbortSignal): Promise<IncomingMessage> {
  const chunks = body !== undefined && Symbol.asyncIterator in body ? (body as AsyncIterable<Uint8Array>) : undefined;
  const text = body === undefined || chunks ? undefined : Buffer.from(JSON.stringify(body));
  const headers = chunks
    ? { "content-type": "application/x-tar", "transfer-encoding": "chunked" }
    : text
      ? { "content-type": "application/json", "content-length": String(text.length) }
      : {};
  return new Promise((done, fail) => {
    const request = httpRequest({ socketPath, method, path: `/${VERSION}${path}`, headers: { host: "docker", ...headers }, signal });
    request.on("response", done);
    request.on("error", (e) => fail(new EngineError(0, `Docker at ${socketPath} does not answer: ${e.message}`)));
    if (chunks) feed(request, chunks).catch((thrown) => (request.destroy(), fail(thrown)));
    else request.end(text);
  });
}

async function feed(request: ReturnType<typeof httpRequest>, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) if (!request.write(chunk)) await new Promise((done) => request.once("drain", done));
  request.end();
}

async function textOf(answer: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of answer) parts.push(part);
  return Buffer.concat(parts).toString();
}

function messageOf(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { message?: string }).message;
  } catch {
    return text.trim() || undefined;
  }
}

/** A stream of JSON documents, one after the other, as pulls and events come. */
export async function* documents<T>(answer: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
  let held = "";
  const decoder = new TextDecoder();
  for await (const part of answer) {
    held += decoder.decode(part, { stream: true });
    for (let end = held.indexOf("\n"); end >= 0; end = held.indexOf("\n")) {
      const line = held.slice(0, end).trim();
      held = held.slice(end + 1);
      if (line) yield JSON.parse(line) as T;
    }
  }
  if (held.trim()) yield JSON.parse(held) as T;
}

export type Output = { stream: "stdout" | "stderr"; bytes: Buffer };

/**
 * Takes apart what a container without a terminal prints: each piece has a head of eight bytes, the stream's number and the
 * length, big-endian (Engine API, ContainerAttach, "Stream format").
 */
export async function* outputs(answer: AsyncIterable<Uint8Array>): AsyncGenerator<Output> {
  let held = Buffer.alloc(0);
  for await (const part of answer) {
    held = Buffer.concat([held, part]);
    while (held.length >= 8 && held.length >= 8 + held.readUInt32BE(4)) {
      const end = 8 + held.readUInt32BE(4);
      yield { stream: held[0] === 2 ? "stderr" : "stdout", bytes: held.subarray(8, end) };
      held = held.subarray(end);
    }
  }
}
