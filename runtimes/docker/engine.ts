/** Docker's Engine API over its Unix socket (docs.docker.com/reference/api/engine, v1.41): JSON, and streams in its framing. */
import type { IncomingMessage } from "node:http";
import { call, HttpError, open, type Body, type How } from "../http.ts";

/** The version that every engine since 20.10 speaks. */
const VERSION = "v1.41";
/** An engine that hangs takes connections still; what it is asked holds up nobody for longer. */
const ANSWER_MS = 30_000;

export type Engine = {
  /** The answer as JSON; undefined: it was empty. Throws HttpError, of status 0 where a question has no answer in time. */
  call<T = unknown>(method: string, path: string, body?: Body): Promise<T>;
  /** The answer as it comes. */
  stream(method: string, path: string, body?: Body, how?: Pick<How, "signal" | "headers">): Promise<IncomingMessage>;
};

export function openEngine(socket: string, { answerMs = ANSWER_MS } = {}): Engine {
  return {
    stream: (method, path, body, how) => open(socket, method, `/${VERSION}${path}`, { body, ...how }),
    async call<T>(method: string, path: string, body?: Body): Promise<T> {
      // What changes something may take its time: a stop, a commit.
      const signal = method === "GET" ? AbortSignal.timeout(answerMs) : undefined;
      const text = await call(socket, method, `/${VERSION}${path}`, { body, signal });
      return (text.trim() === "" ? undefined : JSON.parse(text)) as T;
    },
  };
}

/** undefined: the engine does not have what was asked for. */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  return await work.catch((thrown) => {
    if (thrown instanceof HttpError && thrown.status === 404) return undefined;
    throw thrown;
  });
}

export type Stats = {
  cpu_stats: { cpu_usage: { total_usage: number } };
  memory_stats: { usage?: number; limit?: number; stats?: Record<string, number> };
  pids_stats: { current?: number };
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }>;
};

/** In bytes. What the kernel would give back at once is not in use (docker stats counts so too). */
export function memoryOf({ memory_stats: { usage = 0, limit = 0, stats = {} } }: Stats): { used: number; limit: number } {
  return { used: usage - (stats.inactive_file ?? stats.total_inactive_file ?? 0), limit };
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
