/** Operations on nodes, and on what they have. */
import { HyperlaneError } from "#contract/errors.ts";
import { nearest } from "#contract/nearest.ts";
import { refOf } from "#contract/resources/device.ts";
import type { Node } from "#contract/resources/other.ts";
import { CAPABILITIES, DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import type { State } from "#control/model/state.ts";
import type { Deps, Handlers, Request } from "./handler.ts";

export const nodeHandlers: Pick<
  Handlers,
  "listNodes" | "addNode" | "removeNode" | "drainNode" | "undrainNode" | "listDevices" | "listRuntimes"
> = {
  listNodes: ({ store }) => ({ items: [...store.state.node.values()], next: null }),
  async addNode({ store, connections, enrol, newId }, { body, token }) {
    const { state } = store;
    const known = [...state.node.values()].find((n) => n.name === body.name || n.address === body.address);
    if (known)
      throw new HyperlaneError("CONFLICT", `The node "${known.name}" is at ${known.address} already.`, {
        field: known.name === body.name ? "name" : "address",
        hint: `\`vps node list\` shows all; \`vps node rm ${known.name}\` takes it out.`,
      });
    const id = newId("n");
    const join = await enrol(id, body);
    return {
      secret: true,
      events: [{ type: "v1.NodeEnrolled", subject: id, actor: token.id, data: body }],
      result() {
        const node = state.node.get(id)!;
        connections.add(node);
        return { ...node, join };
      },
    };
  },
  removeNode({ store, connections }, { params, token }) {
    const { state } = store;
    const node = nodeOf(state, params.node ?? "");
    const machines = [...state.machine.values()].filter((m) => m.node === node.id || m.migration?.to === node.id).map((m) => m.name);
    const there = [...machines, ...[...state.volume.values()].filter((v) => v.node === node.id).map((v) => v.name)];
    if (there.length)
      throw new HyperlaneError(
        "STATE",
        `The node "${node.name}" still has ${there.slice(0, 5).join(", ")}${there.length > 5 ? " and more" : ""}.`,
        {
          hint: `Move or destroy what is there first: vps node drain ${node.name}, then vps migrate NAME`,
        },
      );
    return {
      events: [{ type: "v1.NodeRemoved", subject: node.id, actor: token.id, data: {} }],
      result: () => (connections.remove(node.id), node),
    };
  },
  listDevices({ store }) {
    const holders = holdersOf(store.state);
    const held = (node: string, address: string): string | null => holders.get(`${node} ${refOf(address)}`) ?? null;
    const items = [...store.state.node.values()].flatMap((node) =>
      (node.status?.devices ?? []).map((d) => ({ ...d, node: node.name, machine: held(node.id, d.address) })),
    );
    return { items, next: null };
  },
  listRuntimes: ({ store }) => ({
    items: Object.entries(CAPABILITIES).map(([name, can]) => ({
      ...{ name, default: name === DEFAULT_RUNTIME, ...can },
      nodes: [...store.state.node.values()].flatMap((n) => (n.connected && n.status?.runtimes.includes(name) ? [n.name] : [])),
      lacking: [...store.state.node.values()].flatMap((n) =>
        (n.status?.lacking ?? []).flatMap(({ runtime, reason }) => (runtime === name ? [{ node: n.name, reason }] : [])),
      ),
    })),
    next: null,
  }),
  drainNode: (deps, request) => drain(deps, request, true),
  undrainNode: (deps, request) => drain(deps, request, false),
};

/** Its machines stay where they are: their disks are there. */
function drain({ store: { state } }: Deps, { params, token }: Request<"drainNode" | "undrainNode">, draining: boolean) {
  const node = nodeOf(state, params.node ?? "");
  const type = draining ? ("v1.NodeDrained" as const) : ("v1.NodeUndrained" as const);
  return {
    events: (node.draining ?? false) === draining ? [] : [{ type, subject: node.id, actor: token.id, data: {} }],
    result: () => state.node.get(node.id)!,
  };
}

export function nodeOf(state: State, name: string): Node {
  const nodes = [...state.node.values()];
  const node = nodes.find((n) => n.name === name) ?? state.node.get(name);
  if (node) return node;
  const near = nearest(
    name,
    nodes.map((n) => n.name),
  );
  throw new HyperlaneError("NOT_FOUND", `There is no node "${name}".`, {
    hint: `${near === undefined ? "" : `Did you mean "${near}"? `}\`vps node list\` shows all.`,
  });
}

/** By node and device: the name of the machine that has it, or will when it starts. */
function holdersOf(state: State): Map<string, string> {
  return new Map([...state.machine.values()].flatMap((m) => m.spec.devices.map((ref) => [`${m.node} ${ref}`, m.name] as const)));
}
