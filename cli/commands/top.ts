import { JSON_FLAG, type Command } from "#cli/command.ts";

export const top: Command = {
  name: "top",
  usage: "vps top NAME",
  summary: "What runs in a machine, as docker top shows it",
  examples: ["vps top web"],
  args: [1, 1],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const { items } = await client().machineProcesses({ params: { machine: args[0]! } });
    out.data(items);
    out.table(
      ["PID", "PPID", "UID", "STATE", "TIME", "RAM", "COMMAND"],
      items.map((p) => [
        String(p.pid),
        String(p.parent),
        String(p.user),
        p.state,
        `${(p.cpuMs / 1000).toFixed(2)}s`,
        `${p.memoryMib}M`,
        p.argv.join(" ") || `[${p.name}]`,
      ]),
    );
  },
};
