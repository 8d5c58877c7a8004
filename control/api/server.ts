/** The API on HTTP: requests to calls, WebSockets to live streams, and the page that describes both. */
import type { Server } from "bun";
import { HyperlaneError } from "#contract/errors.ts";
import { admit, call, refusal, type Incoming, type Outgoing } from "./call.ts";
import type { Deps, LiveName } from "./handler.ts";
import { createLive, type Session } from "./live.ts";
import { openapiPage } from "./openapi.ts";
import { respondPage } from "./page.ts";
import { serveRegistry } from "./registry.ts";
import { bearerOf, readText } from "./request.ts";
import { cookieOf, demandOwnPage, setCookie } from "./sessions.ts";
import type { Site } from "./site.ts";
import type { Credentials } from "#oci/session.ts";

const LAYER_MAX_BYTES = 64 * 1024 * 1024 * 1024;

/** Another system's API, spoken onto ours. undefined: this is none of its paths. */
export type Dialect = (request: Request, url: URL) => Promise<Response> | undefined;

/** tls: PEMs; needed when `hostname` is not loopback. */
export function startServer(
  deps: Deps,
  options: {
    hostname: string;
    port: number;
    tls?: { key: string; cert: string };
    dialects: readonly Dialect[];
    site: Site;
    log(line: string): void;
  },
): Server<Session> {
  const { log } = options;
  return Bun.serve<Session>({
    hostname: options.hostname,
    port: options.port,
    idleTimeout: 120,
    // Layers come through here as well; everything else is cut off by readText.
    maxRequestBodySize: LAYER_MAX_BYTES,
    ...(options.tls && { tls: options.tls }),
    async fetch(request, server) {
      const url = new URL(request.url);
      if (url.pathname === "/v2" || url.pathname.startsWith("/v2/")) return await serveRegistry(deps, request, url, log);
      for (const dialect of options.dialects) {
        const answer = dialect(request, url);
        if (answer) return await answer;
      }
      if (request.method === "GET" && url.pathname === "/docs") return respondPage(openapiPage(deps.version));
      if (request.method === "GET" && url.pathname === "/") return new Response(null, { status: 302, headers: { location: "/web/" } });
      if (/^(GET|HEAD)$/.test(request.method) && /^\/web(\/|$)/.test(url.pathname)) return options.site(request, url);
      const head = {
        method: request.method,
        pathname: url.pathname,
        search: url.search,
        secret: bearerOf(request),
        idempotencyKey: request.headers.get("idempotency-key"),
        cookie: cookieOf(request, url),
      };
      // Signing in is open to all, but not to a page that would sign its visitors in as somebody else.
      if (head.secret === undefined && request.method !== "GET") demandOwnPage(request, url);
      if (request.headers.has("upgrade")) return await upgrade(deps, request, server, head, log);
      return respond(await call(deps, { ...head, text: await readText(request) }, log), url);
    },
    websocket: { ...createLive(deps), maxPayloadLength: 256 * 1024, idleTimeout: 0, sendPings: true },
    error: (thrown) => respond(refusal(thrown, log)),
  });
}

async function upgrade(
  deps: Deps,
  request: Request,
  server: Server<Session>,
  head: Omit<Incoming, "text">,
  log: (line: string) => void,
): Promise<Response | undefined> {
  try {
    const { name, operation, params, query, token, session } = await admit(deps, head);
    if (!operation.live) throw new HyperlaneError("INVALID", "This is no live stream: ask for it as an ordinary request.");
    await deps.store.settled();
    const credentials = registryAuth(request.headers.get("x-registry-auth"));
    if (server.upgrade(request, { data: { name: name as LiveName, params, query, token: token.id, session: session?.id, credentials } }))
      return undefined;
    throw new HyperlaneError("INVALID", "This is a live stream: open it as a WebSocket.");
  } catch (thrown) {
    return respond(refusal(thrown, log));
  }
}

/** Docker's header: base64url of {"username","password"} or {"identitytoken"}. */
function registryAuth(header: string | null): Credentials | undefined {
  if (header === null) return undefined;
  try {
    const auth = JSON.parse(Buffer.from(header, "base64url").toString()) as Record<string, string>;
    if (auth.identitytoken) return { identityToken: auth.identitytoken };
    if (auth.username) return { username: auth.username, password: auth.password ?? "" };
    return undefined;
  } catch (cause) {
    throw new HyperlaneError("INVALID", "X-Registry-Auth is not base64 of JSON.", { field: "X-Registry-Auth", cause });
  }
}

function respond({ status, body, type, replayed, cookie }: Outgoing, url?: URL): Response {
  return new Response(body, {
    status,
    headers: {
      "content-type": `${type}; charset=utf-8`,
      ...(replayed && { "idempotency-replayed": "true" }),
      ...(cookie !== undefined && url && { "set-cookie": setCookie(cookie, url) }),
      "x-content-type-options": "nosniff",
    },
  });
}
