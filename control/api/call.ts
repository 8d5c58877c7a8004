/**
 * One call of the API, whatever carried it here. In this order: route, token, permission, size and shape of the
 * input, idempotency key, handler, commit, answer. A refusal changes nothing.
 */
import type { z } from "zod";
import { ERRORS, HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { isMutation, type Operation } from "#contract/operations.ts";
import { SCHEMAS } from "#contract/schemas.ts";
import { allows, hashSecret } from "#control/auth/tokens.ts";
import type { StoredSession, StoredToken } from "#control/model/state.ts";
import { sessionOf, tokenOf, type Cookie, type Deps, type Handlers, type Write } from "./handler.ts";
import { imageHandlers } from "./images.ts";
import { machineHandlers } from "./machines.ts";
import { templateHandlers } from "./templates.ts";
import { networkHandlers } from "./networks.ts";
import { moveHandlers } from "./moves.ts";
import { nodeHandlers } from "./nodes.ts";
import { resourceHandlers } from "./resources.ts";
import { sessionHandlers } from "./sessions.ts";
import { check, parseBody } from "./request.ts";
import { match, type Route } from "./route.ts";
import { snapshotHandlers } from "./snapshots.ts";
import { volumeHandlers } from "./volumes.ts";

export const HANDLERS: Handlers = {
  ...machineHandlers,
  ...imageHandlers,
  ...volumeHandlers,
  ...networkHandlers,
  ...templateHandlers,
  ...snapshotHandlers,
  ...nodeHandlers,
  ...moveHandlers,
  ...sessionHandlers,
  ...resourceHandlers,
};
type Checks = { query?: z.ZodType; body?: z.ZodType };
type AnyHandler = (
  deps: Deps,
  request: { params: Record<string, string>; query: unknown; body: unknown; token: StoredToken; session: StoredSession | null },
) => unknown;

/** secret: the bearer token, if one was sent. search: of the URL, with its question mark. */
export type Incoming = {
  method: string;
  pathname: string;
  search: string;
  secret: string | undefined;
  idempotencyKey: string | null;
  text: string;
  /** Whose call it is, where that is known without a token. */
  as?: StoredToken;
  /** Of a browser's cookie, from a page of ours. */
  cookie?: string | undefined;
};
/** replayed: the answer is the one kept for the idempotency key. */
export type Outgoing = { status: number; body: string; type: "application/json" | "text/plain"; replayed?: true; cookie?: Cookie };
export type Admitted = Route & { token: StoredToken; session: StoredSession | null; query: unknown };

/** Route, token, permission and query: what a live stream goes through as well. At once, but for a token that takes a promise. */
export function admit(
  deps: Deps,
  { method, pathname, search, secret, as, cookie }: Pick<Incoming, "method" | "pathname" | "search" | "secret" | "as" | "cookie">,
): Admitted | Promise<Admitted> {
  const route = match(method, pathname);
  const { operation } = route;
  const enter = (token: StoredToken | undefined, session: StoredSession | null = null): Admitted => ({
    ...route,
    session,
    token: permit(token, operation),
    query: check((SCHEMAS[route.name] as Checks).query, "query", Object.fromEntries(new URLSearchParams(search))),
  });
  if (operation.permission === "open") return enter(NOBODY);
  if (as) return enter(as);
  if (secret === undefined && cookie !== undefined) {
    const found = sessionOf(deps, cookie);
    if (!found)
      throw new HyperlaneError("UNAUTHENTICATED", "This browser is no longer signed in.", { hint: "`vps web` signs it in again." });
    return enter(found.token, found.session);
  }
  if (secret === undefined) throw new HyperlaneError("UNAUTHENTICATED", "No API token was sent.");
  const token = tokenOf(deps, secret);
  return token instanceof Promise ? token.then(enter) : enter(token);
}

/** Answers always; what went wrong is in the answer. */
export async function call(deps: Deps, incoming: Incoming, log: (line: string) => void): Promise<Outgoing> {
  try {
    if (deps.store.dead) throw deps.store.dead;
    const entering = admit(deps, incoming);
    const admitted = entering instanceof Promise ? await entering : entering;
    if (admitted.operation.live) throw new HyperlaneError("INVALID", "This is a live stream: open it as a WebSocket.");
    const body = check((SCHEMAS[admitted.name] as Checks).body, "body", isMutation(admitted.operation) ? parseBody(incoming.text) : {});
    const handle = () => (HANDLERS[admitted.name as keyof Handlers] as AnyHandler)(deps, { ...admitted, body });
    if (isMutation(admitted.operation))
      return await mutate(deps, incoming, admitted.token, handle as () => Write<unknown> | Promise<Write<unknown>>);
    const output = await handle();
    await deps.store.settled();
    return typeof output === "string"
      ? { status: 200, body: output, type: "text/plain" }
      : { status: 200, body: JSON.stringify(output), type: "application/json" };
  } catch (thrown) {
    return refusal(thrown, log);
  }
}

export function refusal(thrown: unknown, log: (line: string) => void): Outgoing {
  const error = toHyperlaneError(thrown);
  if (error.code === "BUG") log(`api: ${error.stack ?? error.message}${error.cause instanceof Error ? `\n${error.cause.stack}` : ""}`);
  return { status: ERRORS[error.code].http, body: JSON.stringify(error), type: "application/json" };
}

async function mutate(
  { store }: Deps,
  { method, pathname, search, text, idempotencyKey: given }: Incoming,
  token: StoredToken,
  handle: () => Write<unknown> | Promise<Write<unknown>>,
): Promise<Outgoing> {
  if (given !== null && (given.length === 0 || given.length > 200))
    throw new HyperlaneError("INVALID", "Idempotency-Key must be 1 to 200 characters.", { field: "Idempotency-Key" });
  const key = given === null ? undefined : `${token.id} ${given}`;
  const fingerprint = key === undefined ? "" : hashSecret(`${method} ${pathname}${search} ${text}`);
  const before = key === undefined ? undefined : store.answerFor(key);
  if (before && before.fingerprint !== fingerprint)
    throw new HyperlaneError("CONFLICT", "This Idempotency-Key was used for another request.", {
      field: "Idempotency-Key",
      hint: "Use a new key for a new request.",
    });
  if (before) {
    await store.settled();
    return { status: before.status, body: before.body, type: "application/json", replayed: true };
  }
  // One that awaits nothing is not awaited: between its checks and its events nothing else may come.
  const handled = handle();
  const { events, result, secret, cookie } = handled instanceof Promise ? await handled : handled;
  if (events.length) store.append(events).catch(() => {});
  const body = JSON.stringify(result());
  // The answer and its events commit together, so that a crash keeps both or neither.
  if (key !== undefined && !secret) store.append([], { key, fingerprint, status: 200, body }).catch(() => {});
  await store.settled();
  return { status: 200, body, type: "application/json", ...(cookie !== undefined && { cookie }) };
}

const NOBODY: StoredToken = { id: "nobody", name: "nobody", role: "viewer", hash: "", createdAt: 0 };

function permit(token: StoredToken | undefined, operation: Operation): StoredToken {
  if (!token) throw new HyperlaneError("UNAUTHENTICATED", "The API token is not valid: unknown or revoked.");
  if (!allows(token.role, operation.permission))
    throw new HyperlaneError(
      "FORBIDDEN",
      `The token "${token.name}" has the role ${token.role}, which does not allow this (${operation.permission}).`,
    );
  return token;
}
