/** Operations on events, tokens, and on the control plane itself. */
import { HyperlaneError } from "#contract/errors.ts";
import { createSecret } from "#control/auth/tokens.ts";
import type { State } from "#control/model/state.ts";
import type { Handlers } from "./handler.ts";
import { publicSession } from "./sessions.ts";
import { renderMetrics } from "./metrics.ts";
import { openapiDocument } from "./openapi.ts";

type Names = "health" | "metrics" | "openapi" | "whoami" | "listCertificates" | "listEvents" | "listTokens" | "createToken" | "removeToken";

export const resourceHandlers: Pick<Handlers, Names> = {
  health: ({ store, version }) => {
    if (store.dead) throw store.dead;
    return { status: "ok", version };
  },
  metrics: (deps) => renderMetrics(deps),
  openapi: ({ version }) => openapiDocument(version),
  whoami: (_, { token: { id, name, role }, session }) => ({ id, name, role, session: session && publicSession(session) }),
  listCertificates: ({ certificates }) => ({ items: [...certificates], next: null }),

  listEvents({ store }, { query }) {
    const { names, volumeNames, networkNames } = store.state;
    const id = (name: string) => names.get(name) ?? volumeNames.get(name) ?? networkNames.get(name) ?? name;
    const subject = query.subject === undefined ? undefined : id(query.subject);
    if (query.last !== undefined) return { items: store.lastEvents(query.last, subject), next: null };
    const items = store.events(query.after, query.limit, subject);
    return { items, next: items.length === query.limit ? String(items.at(-1)!.seq) : null };
  },

  listTokens: ({ store }) => ({ items: [...store.state.token.values()].map(({ hash: _, ...token }) => token), next: null }),
  createToken({ store, newId }, { body, token }) {
    if ([...store.state.token.values()].some((t) => t.name === body.name))
      throw new HyperlaneError("CONFLICT", `A token named "${body.name}" is there already.`, { field: "name" });
    const id = newId("t");
    const { secret, hash } = createSecret();
    return {
      secret: true,
      events: [{ type: "v1.TokenCreated", subject: id, actor: token.id, data: { ...body, hash } }],
      result: () => ({ ...publicToken(store.state, id), secret }),
    };
  },
  removeToken({ store }, { params, token }) {
    const found = [...store.state.token.values()].find((t) => t.id === params.token || t.name === params.token);
    if (!found) throw new HyperlaneError("NOT_FOUND", `There is no token "${params.token}".`, { hint: "`vps token list` shows all." });
    if (found.id === token.id) throw new HyperlaneError("CONFLICT", "A token cannot revoke itself.", { hint: "Use another admin token." });
    const before = publicToken(store.state, found.id);
    return { events: [{ type: "v1.TokenRemoved", subject: found.id, actor: token.id, data: {} }], result: () => before };
  },
};

function publicToken(state: State, id: string) {
  const { hash: _, ...token } = state.token.get(id)!;
  return token;
}
