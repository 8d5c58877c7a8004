/** The API on HTTP: requests to calls, WebSockets to live streams, and the page that describes both. */
import type { Server } from "bun";
import { HyperlaneError } from "#contract/errors.ts";
import { admit, call, refusal, type Incoming, type Outgoing } from "./call.ts";
import type { Deps, LiveName } from "./handler.ts";
import { createLive, type Session } from "./live.ts";
import { openapiPage } from "./openapi.ts";

const BODY_MAX_BYTES = 1024 * 1024;
const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
  "x-content-type-options": "nosniff",
};

/** tls: PEMs; needed when `hostname` is not loopback. */
export function startServer(
  deps: Deps,
  options: { hostname: string; port: number; tls?: { key: string; cert: string }; log(line: string): void },
): Server<Session> {
  const { log } = options;
  return Bun.serve<Session>({
    hostname: options.hostname,
    port: options.port,
    idleTimeout: 120,
    maxRequestBodySize: BODY_MAX_BYTES,
    ...(options.tls && { tls: options.tls }),
    async fetch(request, server) {
      const url = new URL(request.url);
      if (request.method === "GET" && (url.pathname === "/" || url.pathname === "/docs"))
        return new Response(openapiPage(deps.version), { headers: PAGE_HEADERS });
      const head = {
        method: request.method,
        pathname: url.pathname,
        search: url.search,
        secret: /^Bearer (\S+)$/.exec(request.headers.get("authorization") ?? "")?.[1],
        idempotencyKey: request.headers.get("idempotency-key"),
      };
      if (request.headers.has("upgrade")) return await upgrade(deps, request, server, head, log);
      if (Number(request.headers.get("content-length") ?? 0) > BODY_MAX_BYTES)
        return respond(refusal(new HyperlaneError("TOO_LARGE", `The body is larger than ${BODY_MAX_BYTES / 2 ** 20} MiB.`), log));
      return respond(await call(deps, { ...head, text: request.body ? await request.text() : "" }, log));
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
    const { name, operation, params, query } = admit(deps, head);
    if (!operation.live) throw new HyperlaneError("INVALID", "This is no live stream: ask for it as an ordinary request.");
    await deps.store.settled();
    if (server.upgrade(request, { data: { name: name as LiveName, params, query } })) return undefined;
    throw new HyperlaneError("INVALID", "This is a live stream: open it as a WebSocket.");
  } catch (thrown) {
    return respond(refusal(thrown, log));
  }
}

function respond({ status, body, type, replayed }: Outgoing): Response {
  return new Response(body, {
    status,
    headers: { "content-type": `${type}; charset=utf-8`, ...(replayed && { "idempotency-replayed": "true" }) },
  });
}
