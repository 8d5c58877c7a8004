/** Browsers: links that sign them in, their sessions, and the cookie that stands for one. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Session } from "#contract/resources/other.ts";
import { createSecret } from "#control/auth/tokens.ts";
import type { State, StoredSession, StoredToken } from "#control/model/state.ts";
import { tokenOf, type Cookie, type Handlers } from "./handler.ts";

const SESSION_MS = 7 * 24 * 3600 * 1000;

export const sessionHandlers: Pick<Handlers, "createLink" | "openSession" | "listSessions" | "closeSession"> = {
  createLink({ links }, { token }) {
    const { code, expiresAt } = links.make(token);
    return { events: [], secret: true, result: () => ({ path: `/web/sign-in#${code}`, expiresAt }) };
  },
  async openSession(deps, { body }) {
    const { store, newId, now } = deps;
    const token = body.code === undefined ? await tokenOf(deps, body.token!) : stillThere(store.state, deps.links.take(body.code));
    if (!token)
      throw new HyperlaneError(
        "UNAUTHENTICATED",
        body.code === undefined ? "The API token is not valid." : "This link is used or too old.",
        {
          hint: "`vps web` makes a new link.",
        },
      );
    const id = newId("b");
    const { secret, hash } = createSecret();
    const expiresAt = Math.min(now() + SESSION_MS, token.expiresAt ?? Infinity);
    const data = { token: token.id, name: token.name, role: token.role, hash, expiresAt };
    return {
      events: [{ type: "v1.SessionOpened", subject: id, actor: token.id, data }],
      result: () => publicSession(store.state.session.get(id)!),
      secret: true,
      cookie: { secret, maxAgeS: Math.floor((expiresAt - now()) / 1000) },
    };
  },
  listSessions: ({ store, now }) => ({
    items: [...store.state.session.values()].filter((s) => s.expiresAt > now()).map(publicSession),
    next: null,
  }),
  closeSession({ store }, { params, token, session }) {
    const own = params.session === "current" || params.session === session?.id;
    if (!own && token.role !== "admin") throw new HyperlaneError("FORBIDDEN", "Only an admin may sign others out.");
    const found = own ? session : store.state.session.get(params.session ?? "");
    if (!found)
      throw new HyperlaneError("NOT_FOUND", `There is no session "${params.session}".`, { hint: "The settings page lists them." });
    const before = publicSession(found);
    return {
      events: [{ type: "v1.SessionClosed", subject: found.id, actor: token.id, data: {} }],
      result: () => before,
      ...(own && { cookie: null }),
    };
  },
};

export function publicSession({ hash: _, ...session }: StoredSession): Session {
  return session;
}

/** Those that are over, to be forgotten. */
export function endedSessions(state: State, now: number): string[] {
  return [...state.session.values()].filter((s) => s.expiresAt <= now).map((s) => s.id);
}

/** It may have been revoked since its link was made. */
function stillThere(state: State, token: StoredToken | undefined): StoredToken | undefined {
  return token && (token.id.startsWith("jwt:") || state.token.has(token.id)) ? token : undefined;
}

/** Cookies know no ports, so its name has that of this server. */
function cookieName(url: URL): string {
  return `hyperlane_${url.port || (url.protocol === "https:" ? "443" : "80")}`;
}

/**
 * The cookie's secret, where a page of ours asks: cookies come along with whatever any page asks of this host, also one that a
 * machine serves on another port of it, so what could change something or read a stream says where it comes from.
 */
export function cookieOf(request: Request, url: URL): string | undefined {
  const name = `${cookieName(url)}=`;
  const found = (request.headers.get("cookie") ?? "").split("; ").find((c) => c.startsWith(name));
  if (found === undefined || request.headers.has("authorization")) return undefined;
  demandOwnPage(request, url);
  return found.slice(name.length);
}

/** Throws FORBIDDEN for what another page asks. */
export function demandOwnPage(request: Request, url: URL): void {
  const origin = request.headers.get("origin");
  const site = request.headers.get("sec-fetch-site");
  const reads = request.method === "GET" && !request.headers.has("upgrade");
  const own = origin === null ? reads || request.headers.get("cookie") === null : origin === url.origin;
  if (own && (site === null || site === "same-origin" || (reads && site === "none"))) return;
  throw new HyperlaneError("FORBIDDEN", "Another page asked for this in your browser's name.", { hint: `Open ${url.origin}/web/ itself.` });
}

/** path: only what the API needs it for. */
export function setCookie(cookie: Cookie, url: URL): string {
  const secure = url.protocol === "https:" ? "; Secure" : "";
  return `${cookieName(url)}=${cookie?.secret ?? ""}; Path=/v1; Max-Age=${cookie?.maxAgeS ?? 0}; HttpOnly; SameSite=Strict${secure}`;
}
