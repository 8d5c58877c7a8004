import { formatMib } from "#contract/size.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { age } from "./machines.ts";

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

export const nodeDrain = draining(
  "drain",
  "Place no more machines on a node; those that are there stay",
  ["vps node drain node-1", "vps list --json | jq -r '.[] | select(.node) | .name'   # what is on nodes still"],
  "is given no more machines; those on it stay until you stop or destroy them",
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
