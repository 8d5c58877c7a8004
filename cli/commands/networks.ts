import { JSON_FLAG, type Command } from "#cli/command.ts";
import { inspecting, pruning, removing } from "#cli/resource.ts";
import { hasHeard, waitFor } from "#cli/wait.ts";

export const networkCreate: Command = {
  name: "network create",
  usage: "vps network create NAME",
  summary: "Make a network: its machines reach each other, and no others reach them",
  examples: ["vps network create back", "vps network create vault --internal"],
  args: [1, 1],
  flags: { internal: { type: "boolean", help: "Without a way out" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    const network = await client().createNetwork({ body: { name: args[0]!, internal: flags.internal === true } });
    out.done(`Network ${network.name}${network.internal ? " (internal)" : ""}`);
    out.line(`→ Use it: vps run --network ${network.name} IMAGE   or: vps network connect ${network.name} MACHINE`);
    out.data(network);
  },
};

export const networkList: Command = {
  name: "network list",
  usage: "vps network list",
  summary: "List networks and who is in them",
  examples: ["vps network list"],
  args: [0, 0],
  flags: { quiet: { type: "boolean", short: "q", help: "Only names" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    const { items } = await client().listNetworks();
    out.data(items);
    if (flags.quiet) return items.forEach((n) => out.line(n.name));
    out.table(
      ["NAME", "WAY OUT", "MACHINES"],
      items.map((n) => [n.name, n.internal ? "no" : "yes", n.machines.map((m) => m.machine).join(" ") || "-"]),
    );
  },
};

export const networkInspect = inspecting("network", "back", (client, network) => client.getNetwork({ params: { network } }));

export const networkRm = removing(
  "network",
  "back",
  "networks that no machine is in",
  (client, network) => client.removeNetwork({ params: { network } }),
  (gone) => gone.name,
);

export const networkPrune = pruning("network", "network that no machine is in", (client) => client.pruneNetworks({ body: {} }));

export const networkConnect: Command = {
  name: "network connect",
  usage: "vps network connect NETWORK MACHINE",
  summary: "Bring a machine into a network, at once",
  examples: ["vps network connect back web", "vps network connect --alias db back postgres-2"],
  args: [2, 2],
  complete: "network",
  flags: {
    alias: { type: "string", multiple: true, value: "NAME", help: "Another name for it there; may be given again" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const [network, machine] = args as [string, string];
    const asked = await client().joinNetwork({
      params: { machine },
      body: { network, aliases: (flags.alias as string[] | undefined) ?? [] },
    });
    const m = await waitFor(client(), asked.id, out, (x) => hasHeard(x, asked));
    out.done(`${m.name} is in the network ${network}`);
    out.data(m);
  },
};

export const networkDisconnect: Command = {
  name: "network disconnect",
  usage: "vps network disconnect NETWORK MACHINE",
  summary: "Take a machine out of a network, at once",
  examples: ["vps network disconnect default web"],
  args: [2, 2],
  complete: "network",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const [network, machine] = args as [string, string];
    const asked = await client().leaveNetwork({ params: { machine, network } });
    const m = await waitFor(client(), asked.id, out, (x) => hasHeard(x, asked));
    out.done(`${m.name} is no longer in the network ${network}`);
    out.data(m);
  },
};
