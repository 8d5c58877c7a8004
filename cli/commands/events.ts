import { HyperlaneError } from "#contract/errors.ts";
import { describeEvent, eventName } from "#contract/resources/words.ts";
import { type Command } from "#cli/command.ts";

const RECENT = 100;

export const events: Command = {
  name: "events",
  usage: "vps events",
  summary: "What happened last, oldest first",
  examples: ["vps events", "vps events -f --json | jq .type", "vps events --machine api-prod"],
  args: [0, 0],
  flags: {
    follow: { type: "boolean", short: "f", help: "Go on as more comes" },
    all: { type: "boolean", help: "From the beginning, not only the last 100" },
    machine: { type: "string", value: "NAME", help: "Only of this machine" },
    json: { type: "boolean", help: "One JSON object a line" },
  },
  async run({ client, flags, out }) {
    type E = { seq: number; at: number; type: string; subject: string; actor: string; data: unknown };
    const names = new Map(flags.json ? [] : (await client().listMachines({ query: { limit: 1000 } })).items.map((m) => [m.id, m.name]));
    const print = (e: E): void => {
      if (flags.json) return out.ndjson(e);
      const { name } = e.data as { name?: unknown };
      if (typeof name === "string") names.set(e.subject, name);
      out.line(
        `${new Date(e.at).toISOString()}  ${String(e.seq).padStart(6)}  ${(names.get(e.subject) ?? e.subject).padEnd(16)}  ${eventName(e.type).padEnd(22)}  ${describeEvent(e.data)}`.trimEnd(),
      );
    };
    const subject = flags.machine as string | undefined;
    let after = "0";
    for (let more = true; more;) {
      const page = await client().listEvents({ query: flags.all ? { after, limit: 1000, subject } : { last: RECENT, subject } });
      (page.items as E[]).forEach(print);
      if (page.items.length) after = String(page.items.at(-1)!.seq);
      more = flags.all === true && page.next !== null;
    }
    if (after === "0" && flags.machine !== undefined)
      out.note(`No events of "${flags.machine as string}": a machine that is gone is known by its id only.`);
    if (!flags.follow) return;
    const only = flags.machine === undefined ? undefined : (await client().getMachine({ params: { machine: flags.machine as string } })).id;
    const done = Promise.withResolvers<void>();
    await client().stream(
      "watchEvents",
      { query: { after } },
      {
        message: () => {},
        text(text) {
          const e = JSON.parse(text) as E;
          if (only === undefined || e.subject === only) print(e);
        },
        close: (error) =>
          error ? done.reject(error) : done.reject(new HyperlaneError("UNAVAILABLE", "The control plane ended the stream.")),
      },
    );
    await done.promise;
  },
};
