/** A VMM's API as a table of endpoints, and a client made from it: what is sent and what is answered are checked at both ends. */
import { z } from "zod";
import { call } from "./http.ts";

/** path: with `{name}` for parameters. body, answer: null where there is none. */
export type Endpoint = { method: string; path: string; body: z.ZodType | null; answer: z.ZodType | null };
type Shape<M extends string, B, A> = { method: M; path: string; body: B; answer: A };

/** One row of such a table. */
export function json<M extends string, B extends z.ZodType | null = null, A extends z.ZodType | null = null>(
  method: M,
  path: string,
  body: B = null as B,
  answer: A = null as A,
): Shape<M, B, A> {
  return { method, path, body, answer };
}

type BodyOf<E> = E extends { body: z.ZodType } ? z.input<E["body"]> : undefined;
type AnswerOf<E> = E extends { answer: z.ZodType } ? z.output<E["answer"]> : void;
export type Client<T extends Record<string, Endpoint>> = {
  [K in keyof T]: (
    ...args: BodyOf<T[K]> extends undefined ? [params?: Record<string, string>] : [body: BodyOf<T[K]>, params?: Record<string, string>]
  ) => Promise<AnswerOf<T[K]>>;
};

/** What was asked is not what the API takes: nothing was sent. */
export class RequestError extends Error {}

/** socket: the Unix socket at which the VMM serves its API; what it answers with null is not there. Throws RequestError, or HttpError with what it answered. */
export function createClient<T extends Record<string, Endpoint>>(socket: string, endpoints: T, deadlineMs = 30_000): Client<T> {
  const rows = Object.entries(endpoints).map(([name, { method, path, body, answer }]) => [
    name,
    async (...args: unknown[]) => {
      const [given, params = {}] = (body ? args : [undefined, ...args]) as [unknown, Record<string, string>?];
      const checked = body?.safeParse(given);
      if (checked && !checked.success) throw new RequestError(`${name}: ${z.prettifyError(checked.error)}`);
      const at = path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(params[key] ?? ""));
      const text = await call(socket, method, at, { body: checked?.data as object, signal: AbortSignal.timeout(deadlineMs) });
      return answer?.parse(text === "" ? undefined : JSON.parse(text, (_, value: unknown) => value ?? undefined));
    },
  ]);
  return Object.fromEntries(rows) as Client<T>;
}

/** Which of them a request is for, and whether it is as it should be; for what stands in for a VMM. */
export function match(
  endpoints: Record<string, Endpoint>,
  method: string,
  path: string,
  body: unknown,
): { name: string } | { error: string } {
  for (const [name, e] of Object.entries(endpoints)) {
    const pattern = new RegExp(`^${e.path.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[^/]+")}$`);
    if (e.method !== method || !pattern.test(path)) continue;
    if (!e.body) return body === undefined ? { name } : { error: `${name} takes no body` };
    const checked = e.body.safeParse(body);
    return checked.success ? { name } : { error: `${name}: ${z.prettifyError(checked.error)}` };
  }
  return { error: `there is no ${method} ${path}` };
}
