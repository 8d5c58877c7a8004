import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";

export const migrate: Command = {
  name: "migrate",
  usage: "vps migrate NAME [--to NODE]",
  summary: "Bring a running machine to another node: its RAM and its disk, while it goes on running",
  examples: [
    "vps migrate api-prod                # to the node with most room",
    "vps migrate api-prod --to node-2",
    "vps migrate api-prod --cancel       # leave it where it is",
    "vps list --json | jq -r '.[] | select(.node) | .name' | xargs -n1 vps migrate   # empty a drained node",
  ],
  args: [1, 1],
  complete: "machine",
  flags: {
    to: { type: "string", value: "NODE", help: "Which one (`vps node list`); left out, the one with most room" },
    cancel: { type: "boolean", help: "It is on its way, and is to stay where it is" },
    "no-wait": { type: "boolean", help: "Return once the request is recorded" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const params = { machine: args[0]! };
    if (flags.cancel) {
      if (flags.to !== undefined) throw new HyperlaneError("USAGE", "--cancel and --to exclude each other.");
      const left = await client().cancelMigration({ params });
      out.done(`${left.name} stays where it is`);
      return out.data(left);
    }
    let m = await client().migrateMachine({ params, body: { to: (flags.to as string | undefined) ?? null } });
    const asked = m.migration;
    const nameOf = async (id: string): Promise<string> => (await client().listNodes()).items.find((n) => n.id === id)?.name ?? id;
    if (asked && !flags["no-wait"]) {
      m = await waitFor(client(), m.id, out, (x) => x.migration?.n !== asked.n && (x.moved?.n === asked.n || x.migration !== null));
      const reason = m.moved?.n === asked.n ? m.moved.reason : "something else was asked of it meanwhile";
      if (reason !== null)
        throw new HyperlaneError("FAILED", `"${m.name}" stays on ${await nameOf(m.node!)}: ${reason}`, {
          hint: `It runs on there. \`vps events ${m.name}\` shows what happened.`,
        });
    }
    const on = await nameOf(m.migration?.to ?? m.node!);
    out.done(m.migration ? `${m.name} is on its way to ${on}` : `${m.name} runs on ${on}`);
    out.data(m);
  },
};
