import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";

export const expose: Command = {
  name: "expose",
  usage: "vps expose NAME --port PORT [--as HOSTPORT]",
  summary: "Make a machine's port reachable from outside",
  examples: ["vps expose api-prod --port 443", "vps expose api-prod --port 80 --as 8080", "vps expose api-prod --port 80 --off"],
  args: [1, 1],
  complete: "machine",
  flags: {
    port: { type: "string", value: "PORT", help: "The machine's port" },
    as: { type: "string", value: "PORT", help: "The node's port (the same)" },
    udp: { type: "boolean", help: "UDP instead of TCP" },
    off: { type: "boolean", help: "Close it again" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const port = (name: string): number | undefined => {
      if (flags[name] === undefined) return undefined;
      if (!/^\d{1,5}$/.test(flags[name] as string))
        throw new HyperlaneError("INVALID", `--${name} must be a port number, not "${String(flags[name])}".`, { field: name });
      return Number(flags[name]);
    };
    const inner = port("port");
    if (inner === undefined) throw new HyperlaneError("USAGE", "Which port? Give --port.");
    const machine = args[0]!;
    const m = flags.off
      ? await client().unexposeMachine({ params: { machine, port: String(inner) } })
      : await client().exposeMachine({
          params: { machine },
          body: { port: inner, hostPort: port("as") ?? inner, protocol: flags.udp ? "udp" : "tcp" },
        });
    if (m.node !== null) await waitFor(client(), m.id, out, (x) => (x.observed?.revision ?? 0) >= m.revision);
    out.done(
      flags.off ? `${m.name}: port ${inner} is closed` : `${m.name}: port ${inner} is reachable on port ${port("as") ?? inner} of the node`,
    );
    out.data(m);
  },
};
