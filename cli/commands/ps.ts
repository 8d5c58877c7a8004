/** Docker's words for looking at machines and ending them. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { argvOf } from "#contract/resources/argv.ts";
import { ifThere, JSON_FLAG, type Command } from "#cli/command.ts";
import { looks } from "#cli/wait.ts";
import { age } from "./machines.ts";

export const ps: Command = {
  name: "ps",
  usage: "vps ps",
  summary: "List running machines with what they run, as docker ps does",
  examples: ["vps ps", "vps ps -a", "vps ps -q"],
  args: [0, 0],
  flags: {
    all: { type: "boolean", short: "a", help: "Those that do not run as well" },
    quiet: { type: "boolean", short: "q", help: "Only names" },
    json: JSON_FLAG,
  },
  async run({ client, flags, out }) {
    const { items: all } = await client().listMachines({ query: { limit: 1000 } });
    const items = all
      .filter((m) => flags.all || m.state === "running" || m.state === "paused" || m.state === "standby")
      .sort((a, b) => b.createdAt - a.createdAt);
    out.data(items);
    if (flags.quiet) return items.forEach((m) => out.line(m.name));
    out.table(
      ["NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS"],
      items.map((m) => [
        m.name,
        m.spec.image,
        shorten(argvOf(m.spec, m.image).join(" "), 28),
        `${age(m.createdAt)} ago`,
        statusOf(m),
        portsOf(m),
      ]),
    );
  },
};

function shorten(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text;
}

/** "Up 5m", "Exited (3) 2m ago", "Restarting (1)". */
export function statusOf(m: Machine): string {
  const { observed } = m;
  const code = observed?.exitCode ?? null;
  const still = m.state === "running" ? "" : ` (${m.state})`;
  if (m.destroying) return "Destroying";
  if (m.state === "running" || m.state === "paused" || m.state === "standby") {
    const health = observed?.health ? ` (${observed.health === "starting" ? "health: starting" : observed.health})` : "";
    return `Up ${age(m.updatedAt)}${still || health}`;
  }
  if (m.retryAt !== null) return `Restarting${code === null ? "" : ` (${code})`}`;
  if (m.state === "stopped") {
    const why = observed?.exit === "out-of-memory" ? " out of memory" : "";
    return observed === null ? "Created" : `Exited (${code ?? 0})${why} ${age(m.updatedAt)} ago`;
  }
  return m.state === "failed" ? `Failed ${age(m.updatedAt)} ago` : m.state === "requested" ? "Created" : "Starting";
}

export function portsOf(m: Machine): string {
  return m.exposures.map((e) => `${hostOf(e.hostIp)}:${e.hostPort}->${e.port}/${e.protocol}`).join(", ");
}

function hostOf(ip: string | null): string {
  return ip === null ? "*" : ip.includes(":") ? `[${ip}]` : ip;
}

export const port: Command = {
  name: "port",
  usage: "vps port NAME [PORT[/udp]]",
  summary: "Where a machine's ports are reachable",
  examples: ["vps port web", "vps port web 80"],
  args: [1, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const m = await client().getMachine({ params: { machine: args[0]! } });
    const [number, protocol = "tcp"] = args[1]?.split("/") ?? [];
    const found = m.exposures.filter((e) => number === undefined || (e.port === Number(number) && e.protocol === protocol));
    if (number !== undefined && !found.length)
      throw new HyperlaneError("NOT_FOUND", `Port ${number}/${protocol} of "${m.name}" is not reachable from outside.`, {
        hint: `vps expose ${m.name} --port ${number}`,
      });
    out.data(found);
    for (const e of found) out.line(`${number === undefined ? `${e.port}/${e.protocol} -> ` : ""}${hostOf(e.hostIp)}:${e.hostPort}`);
  },
};

export const wait: Command = {
  name: "wait",
  usage: "vps wait NAME...",
  summary: "Wait until machines have ended, and print their exit codes",
  examples: ["vps wait job-1 job-2"],
  args: [1, 100],
  complete: "machine",
  async run({ client, args, out }) {
    for (const name of args) {
      const { id } = await client().getMachine({ params: { machine: name } });
      for await (const m of looks(client(), id)) {
        if (m.state === "failed") throw new HyperlaneError("FAILED", `"${m.name}" failed: ${m.reason}.`);
        if (m.state !== "stopped" || m.observed?.epoch !== m.epoch) continue;
        out.line(String(m.observed.exitCode ?? 0));
        break;
      }
    }
  },
};

export const kill: Command = {
  name: "kill",
  usage: "vps kill NAME...",
  summary: "Send a signal to machines' workloads",
  examples: ["vps kill web", "vps kill -s HUP web"],
  args: [1, 100],
  complete: "machine",
  flags: { signal: { type: "string", short: "s", value: "SIGNAL", help: "Which one (KILL)" } },
  async run({ client, args, flags, out }) {
    for (const name of args) {
      await client().killMachine({ params: { machine: name }, body: { signal: (flags.signal as string) ?? "KILL" } });
      out.line(name);
    }
  },
};

export const rename: Command = {
  name: "rename",
  usage: "vps rename NAME NEW",
  summary: "Give a machine another name",
  examples: ["vps rename web web-old"],
  args: [2, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const m = await client().renameMachine({ params: { machine: args[0]! }, body: { name: args[1]! } });
    out.done(`${args[0]} is now ${m.name}`);
    if (m.needsRestart) out.note("It calls itself so after its next start.");
    out.data(m);
  },
};

export const inspect: Command = {
  name: "inspect",
  usage: "vps inspect NAME...",
  summary: "Everything about machines or images, as JSON",
  examples: ["vps inspect web", "vps inspect nginx:latest"],
  args: [1, 100],
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const found: unknown[] = [];
    for (const name of args) {
      const machine = await ifThere(client().getMachine({ params: { machine: name } }));
      const image = machine ? undefined : await ifThere(client().getImage({ params: { image: name } }));
      if (!machine && !image) throw new HyperlaneError("NOT_FOUND", `There is no machine and no image "${name}".`);
      found.push(machine ?? image);
    }
    out.raw(Buffer.from(`${JSON.stringify(found, null, 2)}\n`));
  },
};
