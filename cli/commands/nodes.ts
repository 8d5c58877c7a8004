import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { age } from "./machines.ts";

const AGENT_PORT = 7421;

export const nodeList: Command = {
  name: "node list",
  usage: "vps node list",
  summary: "List nodes and what they offer",
  examples: ["vps node list", "vps node list --json"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listNodes();
    out.data(items);
    out.table(
      ["NAME", "STATUS", "CPU", "RAM", "DISK FREE", "RUNS ON", "RUNTIMES", "STORAGE", "SINCE"],
      items.map((n) => [
        n.name,
        n.connected ? out.color(n.draining ? "yellow" : "green", n.draining ? "drained" : "connected") : out.color("red", "not connected"),
        String(n.status?.cpu ?? "-"),
        n.status ? formatMib(n.status.memoryMib) : "-",
        n.status ? formatMib(n.status.diskFreeMib) : "-",
        n.status?.accelerator ?? "-",
        n.status?.runtimes.join(", ") ?? "-",
        n.status?.storage ?? "-",
        age(n.since),
      ]),
    );
  },
};

export const nodeAdd: Command = {
  name: "node add",
  usage: "vps node add NAME --address HOST[:PORT]",
  summary: "Enrol another host as a node; what it prints is run there, as root",
  examples: ["vps node add node-2 --address 10.0.0.2", "vps node add node-2 --address node-2.example.org:7421 --json | jq -r .join"],
  args: [1, 1],
  flags: {
    address: { type: "string", value: "HOST[:PORT]", help: "At which this one and the other nodes reach its agent (port 7421)" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const given = flags.address as string | undefined;
    if (given === undefined)
      throw new HyperlaneError("USAGE", "Where is it? Give --address HOST.", { hint: `vps node add ${args[0]} --address 10.0.0.2` });
    const address =
      /:\d+$/.test(given) && !/^[0-9a-f:]*$/i.test(given) ? given : `${given.includes(":") ? `[${given}]` : given}:${AGENT_PORT}`;
    const node = await client().addNode({ body: { name: args[0]!, address } });
    out.data(node);
    out.done(`${node.name} is awaited at ${node.address}`);
    out.line(`→ On that host, as root: hyperlane join ${node.join}`);
    out.line("  It is a secret: whoever has it is that node. It is not shown again.");
  },
};

export const nodeRemove: Command = {
  name: "node rm",
  usage: "vps node rm NAME",
  summary: "Take a node out that has no machines and no volumes any more",
  examples: ["vps node rm node-2"],
  args: [1, 1],
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const node = await client().removeNode({ params: { node: args[0]! } });
    out.done(`${node.name} is a node no more; on that host: hyperlane uninstall`);
    out.data(node);
  },
};

export const nodeDrain = draining(
  "drain",
  "Place no more machines on a node; those that are there stay",
  ["vps node drain node-1", "vps migrate api-prod   # and so on, until nothing is left there"],
  "is given no more machines; those on it stay until you move or destroy them",
);
export const nodeUndrain = draining("undrain", "Place machines on a node again", ["vps node undrain node-1"], "is given machines again");

function draining(verb: "drain" | "undrain", summary: string, examples: string[], done: string): Command {
  return {
    name: `node ${verb}`,
    usage: `vps node ${verb} NAME`,
    summary,
    examples,
    args: [1, 1],
    flags: { json: JSON_FLAG },
    async run({ client, args, out }) {
      const node = await client()[`${verb}Node`]({ params: { node: args[0]! } });
      out.done(`${node.name} ${done}`);
      out.data(node);
    },
  };
}
