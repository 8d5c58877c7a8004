import { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { formatMib } from "#contract/size.ts";
import type { Output as Answer } from "#contract/schemas.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { follow } from "#cli/session.ts";
import { formatBytes } from "#cli/transfer.ts";
import type { Client } from "#sdk/client.ts";

type Stats = Answer<"machineStats">;
const SAMPLE_MS = 1000;
const CLEAR = "\x1b[H\x1b[2J";

export const stats: Command = {
  name: "stats",
  usage: "vps stats [NAME...]",
  summary: "CPU, RAM, network and disk in use, as it goes on",
  examples: ["vps stats", "vps stats web db --no-stream"],
  args: [0, 100],
  complete: "machine",
  flags: { "no-stream": { type: "boolean", help: "Once, after a second of looking" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    const stream = out.tty && !flags["no-stream"];
    for (let before = await sample(client(), args); ;) {
      await Bun.sleep(SAMPLE_MS);
      const now = await sample(client(), args);
      const rows = now.map(({ machine, stats, at }) => {
        const last = before.find((b) => b.machine.id === machine.id);
        const cpu = last ? (100 * (stats.cpuMs - last.stats.cpuMs)) / (at - last.at) : 0;
        return { name: machine.name, cpuPercent: Math.max(0, Math.round(cpu * 10) / 10), ...stats };
      });
      if (stream) out.raw(Buffer.from(CLEAR));
      out.data(rows);
      out.table(
        ["NAME", "CPU", "RAM", "RAM %", "NETWORK IN / OUT", "DISK", "LOAD"],
        rows.map((r) => {
          const used = r.memoryMib - r.memoryFreeMib;
          const percent = r.memoryMib ? Math.round((100 * used) / r.memoryMib) : 0;
          const traffic = `${formatBytes(r.networkInBytes)} / ${formatBytes(r.networkOutBytes)}`;
          const disk = `${formatMib(Math.max(1, r.diskMib - r.diskFreeMib))} / ${formatMib(r.diskMib)}`;
          return [
            r.name,
            `${r.cpuPercent.toFixed(1)}%`,
            `${formatMib(used)} / ${formatMib(r.memoryMib)}`,
            `${percent}%`,
            traffic,
            disk,
            r.load1.toFixed(2),
          ];
        }),
      );
      if (!stream) return;
      before = now;
    }
  },
};

/** The named ones, or all that run. */
async function sample(client: Client, names: string[]): Promise<{ machine: Machine; stats: Stats; at: number }[]> {
  const machines = names.length
    ? await Promise.all(names.map((machine) => client.getMachine({ params: { machine } })))
    : (await client.listMachines({ query: { limit: 1000, state: "running" } })).items;
  return await Promise.all(
    machines.map(async (machine) => ({
      machine,
      stats: await client.machineStats({ params: { machine: machine.id } }),
      at: performance.now(),
    })),
  );
}

export const attach: Command = {
  name: "attach",
  usage: "vps attach NAME",
  summary: "A running workload's output from now on, and its stdin; its exit code is ours",
  examples: ["vps attach repl"],
  args: [1, 1],
  complete: "machine",
  flags: { "no-stdin": { type: "boolean", help: "Only look" } },
  async run({ client, args, flags, out }) {
    const m = await client().getMachine({ params: { machine: args[0]! } });
    if (m.state !== "running")
      throw new HyperlaneError("STATE", `The machine "${m.name}" is ${m.state}, so there is nothing to attach to.`, {
        hint: `vps start ${m.name}`,
      });
    return await follow(
      client(),
      m,
      out,
      { stdin: m.spec.stdin && !flags["no-stdin"], tty: m.spec.tty && process.stdin.isTTY === true },
      "0",
    );
  },
};
