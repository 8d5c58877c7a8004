/** Operations on networks, and on who is in them. */
import { HyperlaneError } from "#contract/errors.ts";
import { DEFAULT_NETWORK, DEFAULT_NUMBER, type Membership, type Network } from "#contract/resources/network.ts";
import type { State, StoredNetwork } from "#control/model/state.ts";
import { demand, machineOf, view, type Handlers } from "./handler.ts";

type Names = "listNetworks" | "createNetwork" | "getNetwork" | "removeNetwork" | "pruneNetworks" | "joinNetwork" | "leaveNetwork";

const NUMBER_MAX = 60_000;
const DEFAULT: StoredNetwork = {
  id: "w-default",
  name: DEFAULT_NETWORK,
  labels: {},
  internal: false,
  number: DEFAULT_NUMBER,
  createdAt: 0,
};

export const networkHandlers: Pick<Handlers, Names> = {
  listNetworks({ store }) {
    const networks = [...store.state.network.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return { items: networkViews(store.state, [DEFAULT, ...networks]), next: null };
  },
  createNetwork({ store, newId }, { body, token }) {
    if (body.name === DEFAULT_NETWORK || store.state.networkNames.has(body.name))
      throw new HyperlaneError("CONFLICT", `A network named "${body.name}" is there already.`, { field: "name" });
    const taken = new Set([...store.state.network.values()].map((n) => n.number));
    let number = DEFAULT_NUMBER + 1;
    while (taken.has(number)) number++;
    if (number > NUMBER_MAX) throw new HyperlaneError("TOO_LARGE", `There are ${NUMBER_MAX} networks, which is the most.`);
    const id = newId("w");
    return {
      events: [{ type: "v1.NetworkCreated", subject: id, actor: token.id, data: { ...body, number } }],
      result: () => networkView(store.state, store.state.network.get(id)!),
    };
  },
  getNetwork: ({ store }, { params }) => networkView(store.state, networkOf(store.state, params.network)),
  removeNetwork({ store }, { params, token }) {
    const network = networkOf(store.state, params.network);
    if (network === DEFAULT) throw new HyperlaneError("CONFLICT", "The default network is always there.");
    const before = networkView(store.state, network);
    if (before.machines.length)
      throw new HyperlaneError(
        "CONFLICT",
        `The network "${network.name}" is used by ${before.machines
          .slice(0, 5)
          .map((m) => m.machine)
          .join(", ")}${before.machines.length > 5 ? ` and ${before.machines.length - 5} more` : ""}.`,
        { hint: `Take them out first: vps network disconnect ${network.name} ${before.machines[0]!.machine}` },
      );
    return { events: [{ type: "v1.NetworkRemoved", subject: network.id, actor: token.id, data: {} }], result: () => before };
  },
  pruneNetworks({ store }, { token }) {
    const unused = networkViews(store.state, [...store.state.network.values()]).filter((n) => !n.machines.length);
    return {
      events: unused.map((n) => ({ type: "v1.NetworkRemoved", subject: n.id, actor: token.id, data: {} })),
      result: () => ({ removed: unused.map((n) => n.name).sort() }),
    };
  },
  joinNetwork({ store }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "network");
    checkNetworks(store.state, [body]);
    const there = machine.spec.networks.some((n) => JSON.stringify(n) === JSON.stringify(body));
    return {
      events: there ? [] : [{ type: "v1.MachineJoined", subject: machine.id, actor: token.id, data: body }],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
  leaveNetwork({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "network");
    const network = params.network ?? "";
    return {
      events: machine.spec.networks.some((n) => n.network === network)
        ? [{ type: "v1.MachineLeft", subject: machine.id, actor: token.id, data: { network } }]
        : [],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
};

export function checkNetworks(state: State, networks: readonly Membership[]): void {
  for (const { network } of networks) networkOf(state, network);
}

function networkOf(state: State, name = ""): StoredNetwork {
  if (name === DEFAULT_NETWORK || name === DEFAULT.id) return DEFAULT;
  const network = state.network.get(state.networkNames.get(name) ?? name);
  if (network) return network;
  throw new HyperlaneError("NOT_FOUND", `There is no network "${name}".`, {
    field: "networks",
    hint: `Make it: vps network create ${name}; \`vps network list\` shows what there is.`,
  });
}

function networkView(state: State, network: StoredNetwork): Network {
  return networkViews(state, [network])[0]!;
}

function networkViews(state: State, networks: StoredNetwork[]): Network[] {
  const members = new Map<string, Network["machines"]>();
  const machines = [...state.machine.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name: machine, spec, observed } of machines)
    for (const { network, aliases } of spec.networks) {
      const list = members.get(network) ?? [];
      list.push({ machine, address4: observed?.address4 ?? null, address6: observed?.address6 ?? null, aliases });
      members.set(network, list);
    }
  return networks.map((n) => ({ ...n, machines: members.get(n.name) ?? [] }));
}
