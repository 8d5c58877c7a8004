/** Events of nodes, and of those who may ask: API tokens and browsers. */
import type { NodeStatus, Role } from "#contract/resources/other.ts";
import { invariant } from "#contract/errors.ts";
import type { Reducers } from "./state.ts";

export type NodeEvents = {
  "v1.NodeEnrolled": { name: string; address: string };
  /** With all that it had: it had nothing. */
  "v1.NodeRemoved": Record<string, never>;
  "v1.NodeConnected": { status: NodeStatus };
  "v1.NodeObserved": { status: NodeStatus };
  "v1.NodeLost": { reason: string };
  "v1.NodeDrained": Record<string, never>;
  "v1.NodeUndrained": Record<string, never>;
  /** Said for the record: nodes report what they have. */
  "v1.TemplateBuilt": { key: string; image: string };
  "v1.TemplatesRemoved": { keys: string[] };
};
export type TokenEvents = {
  "v1.TokenCreated": { name: string; role: Role; hash: string };
  "v1.TokenRemoved": Record<string, never>;
  /** hash: of the cookie's secret. */
  "v1.SessionOpened": { token: string; name: string; role: Role; hash: string; expiresAt: number };
  "v1.SessionClosed": Record<string, never>;
};

export const nodeReducers: Reducers<NodeEvents> = {
  "v1.NodeEnrolled": (state, e) => {
    state.node.set(e.subject, {
      id: e.subject,
      ...e.data,
      connected: false,
      draining: state.node.get(e.subject)?.draining ?? false,
      status: state.node.get(e.subject)?.status ?? null,
      since: e.at,
    });
    return [["node", e.subject]];
  },
  "v1.NodeRemoved": (state, e) => {
    state.node.delete(e.subject);
    return [["node", e.subject]];
  },
  "v1.NodeConnected": (state, e) => patch(state, e, { connected: true, status: e.data.status, since: e.at }),
  "v1.NodeObserved": (state, e) => patch(state, e, { status: e.data.status }),
  "v1.TemplateBuilt": () => [],
  "v1.TemplatesRemoved": () => [],
  "v1.NodeLost": (state, e) => patch(state, e, { connected: false, since: e.at }),
  "v1.NodeDrained": (state, e) => patch(state, e, { draining: true }),
  "v1.NodeUndrained": (state, e) => patch(state, e, { draining: false }),
};

export const tokenReducers: Reducers<TokenEvents> = {
  "v1.TokenCreated": (state, e) => {
    state.token.set(e.subject, { id: e.subject, ...e.data, createdAt: e.at });
    return [["token", e.subject]];
  },
  "v1.TokenRemoved": (state, e) => {
    state.token.delete(e.subject);
    const sessions = [...state.session.values()].filter((s) => s.token === e.subject).map((s) => s.id);
    for (const id of sessions) state.session.delete(id);
    return [["token", e.subject], ...sessions.map((id): ["session", string] => ["session", id])];
  },
  "v1.SessionOpened": (state, e) => {
    state.session.set(e.subject, { id: e.subject, ...e.data, createdAt: e.at });
    return [["session", e.subject]];
  },
  "v1.SessionClosed": (state, e) => {
    state.session.delete(e.subject);
    return [["session", e.subject]];
  },
};

function patch(state: Parameters<Reducers<NodeEvents>["v1.NodeLost"]>[0], e: { subject: string }, fields: object): [["node", string]] {
  const node = state.node.get(e.subject);
  invariant(node, `event about a node that is not enrolled: ${e.subject}`);
  state.node.set(e.subject, { ...node, ...fields });
  return [["node", e.subject]];
}
