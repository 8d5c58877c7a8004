/** Operations on snapshots, nodes, events, tokens, and on the control plane itself. */
import { HyperlaneError } from "#contract/errors.ts";
import { createSecret } from "#control/auth/tokens.ts";
import type { State } from "#control/model/state.ts";
import { demand, machineOf, view, type Handlers } from "./handler.ts";
import { renderMetrics } from "./metrics.ts";
import { openapiDocument } from "./openapi.ts";

type Names = Exclude<
  keyof Handlers,
  keyof typeof import("./machines.ts").machineHandlers | keyof typeof import("./images.ts").imageHandlers
>;

export const resourceHandlers: Pick<Handlers, Names> = {
  health: ({ store, version }) => {
    if (store.dead) throw store.dead;
    return { status: "ok", version };
  },
  metrics: (deps) => renderMetrics(deps),
  openapi: ({ version }) => openapiDocument(version),
  whoami: (_, { token: { id, name, role } }) => ({ id, name, role }),

  listSnapshots({ store }, { params }) {
    const machine = machineOf(store.state, params);
    return { items: snapshotsOf(store.state, machine.id), next: null };
  },
  createSnapshot({ store, newId, now }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "snapshot");
    const name = body.name ?? `s${new Date(now()).toISOString().slice(0, 19).replace(/[-:T]/g, "")}`;
    if (snapshotsOf(store.state, machine.id).some((s) => s.name === name))
      throw new HyperlaneError("CONFLICT", `"${machine.name}" has a snapshot named "${name}" already.`, { field: "name" });
    const id = newId("s");
    return {
      events: [{ type: "v1.SnapshotRequested", subject: id, actor: token.id, data: { name, machine: machine.id } }],
      result: () => store.state.snapshot.get(id)!,
    };
  },
  restoreSnapshot({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "restore");
    const snapshot = findSnapshot(store.state, machine, params.snapshot);
    if (snapshot.state !== "ready")
      throw new HyperlaneError("STATE", `The snapshot "${snapshot.name}" is ${snapshot.state}, so it cannot be restored.`);
    return {
      events: [
        {
          type: "v1.MachineRestoreRequested",
          subject: machine.id,
          actor: token.id,
          data: { snapshot: snapshot.id, epoch: machine.epoch + 1 },
        },
      ],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
  removeSnapshot({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    const snapshot = findSnapshot(store.state, machine, params.snapshot);
    const events =
      snapshot.state === "removing"
        ? []
        : [{ type: "v1.SnapshotRemoveRequested" as const, subject: snapshot.id, actor: token.id, data: { machine: machine.id } }];
    return { events, result: () => store.state.snapshot.get(snapshot.id)! };
  },

  listNodes: ({ store }) => ({ items: [...store.state.node.values()], next: null }),
  listEvents({ store }, { query }) {
    const subject = query.subject === undefined ? undefined : (store.state.names.get(query.subject) ?? query.subject);
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

function snapshotsOf(state: State, machine: string) {
  return [...(state.snapshotsOf.get(machine) ?? [])].map((id) => state.snapshot.get(id)!).sort((a, b) => a.createdAt - b.createdAt);
}

function findSnapshot(state: State, machine: { id: string; name: string }, nameOrId = "") {
  const found = snapshotsOf(state, machine.id).find((s) => s.name === nameOrId || s.id === nameOrId);
  if (!found)
    throw new HyperlaneError("NOT_FOUND", `"${machine.name}" has no snapshot "${nameOrId}".`, {
      hint: `\`vps snapshot list ${machine.name}\` shows all.`,
    });
  return found;
}
