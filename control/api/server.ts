/**
 * The REST server, made from the operation table. For every request, in this order: route, token, permission,
 * size and shape of the input, idempotency key, handler, commit, answer. A refusal changes nothing.
 */
import type { Server } from "bun";
import type { z } from "zod";
import { ERRORS, HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { isMutation, OPERATION_NAMES, OPERATIONS, type Operation, type OperationName } from "#contract/operations.ts";
import { SCHEMAS } from "#contract/schemas.ts";
import { allows, findToken, hashSecret } from "#control/auth/tokens.ts";
import type { StoredToken } from "#control/model/state.ts";
import type { Deps, Handlers, LiveName, Write } from "./handler.ts";
import { createLive, type Session } from "./live.ts";
import { machineHandlers } from "./machines.ts";
import { openapiPage } from "./openapi.ts";
import { resourceHandlers } from "./resources.ts";

export const HANDLERS: Handlers = { ...machineHandlers, ...resourceHandlers };
const BODY_MAX_BYTES = 1024 * 1024;

type Route = { name: OperationName; operation: Operation; params: Record<string, string> };
type AnyHandler = (deps: Deps, request: { params: Record<string, string>; query: unknown; body: unknown; token: StoredToken }) => unknown;

/** tls: PEMs; needed when `hostname` is not loopback. */
export function startServer(deps: Deps, options: { hostname: string; port: number; tls?: { key: string; cert: string }; log(line: string): void }): Server<Session> {
  return Bun.serve<Session>({
    hostname: options.hostname,
    port: options.port,
    idleTimeout: 120,
    maxRequestBodySize: BODY_MAX_BYTES,
    ...(options.tls && { tls: options.tls }),
    fetch: (request, server) => answer(deps, request, server, options.log),
    websocket: { ...createLive(deps), maxPayloadLength: 256 * 1024, idleTimeout: 0, sendPings: true },
    error: (thrown) => errorResponse(toHyperlaneError(thrown)),
  });
}

async function answer(deps: Deps, request: globalThis.Request, server: Server<Session>, log: (line: string) => void): Promise<Response | undefined> {
  try {
    const url = new URL(request.url);
    if (url.pathname === "/" || url.pathname === "/docs") return new Response(openapiPage(deps.version), { headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'" } });
    const route = match(request.method, url.pathname);
    const token = authorize(deps, request, route.operation);
    const query = check(SCHEMAS[route.name], "query", Object.fromEntries(url.searchParams));
    if (route.operation.live) {
      await deps.store.settled();
      if (server.upgrade(request, { data: { name: route.name as LiveName, params: route.params, query } })) return undefined;
      throw new HyperlaneError("INVALID", "This is a live stream: open it as a WebSocket.");
    }
    const text = isMutation(route.operation) ? await request.text() : "";
    const body = check(SCHEMAS[route.name], "body", parseBody(text));
    const handler = HANDLERS[route.name as keyof Handlers] as AnyHandler;
    const call = () => handler(deps, { params: route.params, query, body, token });
    if (isMutation(route.operation)) return await mutate(deps, request, url, text, token, call as () => Write<unknown>);
    const output = await call();
    await deps.store.settled();
    return typeof output === "string" ? new Response(output) : Response.json(output);
  } catch (thrown) {
    const error = toHyperlaneError(thrown);
    if (error.code === "BUG") log(`api: ${error.stack ?? error.message}${error.cause instanceof Error ? `\n${error.cause.stack}` : ""}`);
    return errorResponse(error);
  }
}

async function mutate(deps: Deps, request: globalThis.Request, url: URL, text: string, token: StoredToken, call: () => Write<unknown>): Promise<Response> {
  const given = request.headers.get("idempotency-key");
  if (given !== null && (given.length === 0 || given.length > 200)) throw new HyperlaneError("INVALID", "Idempotency-Key must be 1 to 200 characters.", { field: "Idempotency-Key" });
  const key = given === null ? undefined : `${token.id} ${given}`;
  const fingerprint = key === undefined ? "" : hashSecret(`${request.method} ${url.pathname}${url.search} ${text}`);
  if (key !== undefined) {
    const before = deps.store.answerFor(key);
    if (before && before.fingerprint !== fingerprint) throw new HyperlaneError("CONFLICT", "This Idempotency-Key was used for another request.", { field: "Idempotency-Key", hint: "Use a new key for a new request." });
    if (before) {
      await deps.store.settled();
      return new Response(before.body, { status: before.status, headers: { "content-type": "application/json", "idempotency-replayed": "true" } });
    }
  }
  const { events, result, secret } = call();
  const done = events.length ? deps.store.append(events) : deps.store.settled();
  const body = JSON.stringify(result());
  const kept = key !== undefined && !secret ? deps.store.append([], { key, fingerprint, status: 200, body }) : undefined;
  await done;
  await kept;
  return new Response(body, { headers: { "content-type": "application/json" } });
}

/** The table as a tree by segment; `*` stands for a parameter. */
type RouteNode = { next: Map<string, RouteNode>; methods: Map<string, OperationName> };
const TREE = buildTree();

function buildTree(): RouteNode {
  const root: RouteNode = { next: new Map(), methods: new Map() };
  for (const name of OPERATION_NAMES) {
    let at = root;
    for (const segment of OPERATIONS[name].path.split("/").slice(1)) {
      const key = segment.startsWith("{") ? "*" : segment;
      const next = at.next.get(key) ?? { next: new Map(), methods: new Map() };
      at.next.set(key, next);
      at = next;
    }
    at.methods.set(OPERATIONS[name].method, name);
  }
  return root;
}

function match(method: string, pathname: string): Route {
  let at: RouteNode | undefined = TREE;
  const values: string[] = [];
  for (const segment of pathname.split("/").slice(1)) {
    const fixed: RouteNode | undefined = at.next.get(segment);
    const next: RouteNode | undefined = fixed ?? (segment ? at.next.get("*") : undefined);
    if (!next) throw new HyperlaneError("NOT_FOUND", `There is no "${pathname}" here.`, { hint: "See /docs for what there is." });
    if (!fixed) values.push(decode(segment));
    at = next;
  }
  const name = at.methods.get(method);
  if (!name) throw new HyperlaneError("NOT_FOUND", `There is no ${method} on "${pathname}".`, { hint: `It takes ${[...at.methods.keys()].join(", ") || "nothing"}. See /docs.` });
  const operation: Operation = OPERATIONS[name];
  const keys = [...operation.path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]!);
  return { name, operation, params: Object.fromEntries(keys.map((k, i) => [k, values[i]!])) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new HyperlaneError("INVALID", `"${segment}" in the path is not valid percent-encoding.`);
  }
}

const NOBODY: StoredToken = { id: "nobody", name: "nobody", role: "viewer", hash: "", createdAt: 0 };

function authorize({ store }: Deps, request: globalThis.Request, operation: Operation): StoredToken {
  if (operation.permission === "open") return NOBODY;
  const secret = /^Bearer (\S+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
  if (secret === undefined) throw new HyperlaneError("UNAUTHENTICATED", "No API token was sent.");
  const token = findToken(store.state, secret);
  if (!token) throw new HyperlaneError("UNAUTHENTICATED", "The API token is not valid: unknown or revoked.");
  if (!allows(token.role, operation.permission)) throw new HyperlaneError("FORBIDDEN", `The token "${token.name}" has the role ${token.role}, which does not allow this (${operation.permission}).`);
  return token;
}

function parseBody(text: string): unknown {
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HyperlaneError("INVALID", `The body is not JSON: ${(cause as Error).message}`, { cause });
  }
}

function check(schemas: { query?: z.ZodType; body?: z.ZodType; output: z.ZodType }, part: "query" | "body", value: unknown): unknown {
  const schema = schemas[part];
  if (!schema) return {};
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const unknown = issue.code === "unrecognized_keys" ? issue.keys[0]! : undefined;
  const field = [...issue.path, ...(unknown === undefined ? [] : [unknown])].join(".");
  const rule = unknown === undefined ? issue.message : "is not a field here";
  throw new HyperlaneError("INVALID", field ? `${field} ${rule.replace(/^Invalid input: /, "")}.` : `The ${part} ${rule}.`, { ...(field && { field }) });
}

function errorResponse(error: HyperlaneError): Response {
  return Response.json(error, { status: ERRORS[error.code].http });
}
