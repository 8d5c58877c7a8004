import { JSON_FLAG, type Command } from "#cli/command.ts";

export const runtimeList: Command = {
  name: "runtime list",
  usage: "vps runtime list",
  summary: "List what machines can run on, and what each can do",
  examples: ["vps runtime list", "vps run --runtime docker nginx"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listRuntimes();
    out.data(items);
    const can = (able: boolean | null): string => (able === null ? "-" : able ? "yes" : "no");
    out.table(
      ["RUNTIME", "KIND", "NODES", "PAUSE", "SNAPSHOT", "STANDBY", "ADD DISK", "ADD CPU", "ADD RAM", "MIGRATE", "GPU", "NESTED"],
      items.map((r) => [
        r.default ? `${r.name} (default)` : r.name,
        r.kind,
        r.nodes.join(", ") || "none",
        ...[r.pause, r.diskSnapshots, r.memorySnapshots, r.diskHotplug, r.cpuHotplug, r.memoryHotplug].map(can),
        ...[r.moving, r.gpu, r.nested].map(can),
      ]),
    );
    for (const { name, lacking } of items) for (const { node, reason } of lacking) out.note(`${node} has ${name}, but ${reason}`);
  },
};
