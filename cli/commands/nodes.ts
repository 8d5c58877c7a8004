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
        n.connected ? out.color("green", "connected") : out.color("red", "not connected"),
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
