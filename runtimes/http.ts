/** HTTP over a Unix socket, as VMMs and engines serve their APIs. */
import { request as httpRequest, type IncomingMessage } from "node:http";

/** status: 0 where nobody answered, or not to the end. */
export class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A document, or bytes as they come. */
export type Body = object | AsyncIterable<Uint8Array>;
export type How = { body?: Body | undefined; signal?: AbortSignal | undefined; headers?: Record<string, string> | undefined };

/** The answer as it comes. Throws HttpError, with what was said, where the status is neither 2xx nor 304. */
export async function open(socket: string, method: string, path: string, how: How = {}): Promise<IncomingMessage> {
  const answer = await send(socket, method, path, how);
  const status = answer.statusCode ?? 0;
  if ((status >= 200 && status < 300) || status === 304) return answer;
  throw new HttpError(status, saidIn(await textOf(answer)) ?? `${method} ${path} was answered with ${status}`);
}

/** The answer's text. */
export async function call(socket: string, method: string, path: string, how: How = {}): Promise<string> {
  const answer = await open(socket, method, path, how);
  return await textOf(answer).catch((thrown: Error) => {
    throw new HttpError(0, `${socket} ended its answer early: ${thrown.message}`);
  });
}

function send(socketPath: string, method: string, path: string, { body, signal, headers: more }: How): Promise<IncomingMessage> {
  const chunks = body !== undefined && Symbol.asyncIterator in body ? (body as AsyncIterable<Uint8Array>) : undefined;
  const text = body === undefined || chunks ? undefined : Buffer.from(JSON.stringify(body));
  const headers = chunks
    ? { "content-type": "application/x-tar", "transfer-encoding": "chunked" }
    : text
      ? { "content-type": "application/json", "content-length": String(text.length) }
      : {};
  return new Promise((done, fail) => {
    const request = httpRequest({
      socketPath,
      method,
      path,
      headers: { host: "localhost", accept: "application/json", ...headers, ...more },
      signal,
    });
    request.on("response", done);
    request.on("error", (e) => fail(new HttpError(0, `${socketPath} does not answer: ${e.message}`)));
    if (chunks) feed(request, chunks).catch((thrown) => (request.destroy(), fail(thrown)));
    else request.end(text);
  });
}

async function feed(request: ReturnType<typeof httpRequest>, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) if (!request.write(chunk)) await new Promise((done) => request.once("drain", done));
  request.end();
}

export async function textOf(answer: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of answer) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Docker says `message`, Firecracker `fault_message`, Cloud Hypervisor a list of errors or a text. */
function saidIn(text: string): string | undefined {
  try {
    const body = JSON.parse(text) as { message?: string; fault_message?: string } | string[];
    return Array.isArray(body) ? body.join(": ") : (body.message ?? body.fault_message ?? text);
  } catch {
    return text.trim() || undefined;
  }
}
