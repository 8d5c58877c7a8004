import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { parseDuration } from "#cli/duration.ts";
import { hasHeard, waitFor } from "#cli/wait.ts";

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 };

export const standby: Command = {
  name: "standby",
  usage: "vps standby NAME",
  summary: "Put a machine's memory on the disk; a packet for it, exec, ssh or start wakes it where it was",
  examples: [
    "vps standby staging",
    "vps standby staging --until 08:00",
    "vps standby staging --idle 10m      # from now on by itself, whenever it has nothing to do",
    "vps standby staging --idle never",
    "vps standby staging --hold          # not by itself, until --no-hold",
  ],
  args: [1, 1],
  complete: "machine",
  flags: {
    force: { type: "boolean", short: "f", help: "Although commands, copies or connections are open; they break" },
    for: { type: "string", value: "TIME", help: "Wake it after so long, like 8h" },
    until: { type: "string", value: "TIME", help: "Wake it then, like 08:00 or 2026-12-01T08:00" },
    idle: { type: "string", value: "TIME", help: "To standby by itself after so long with nothing to do, like 10m; or never" },
    hold: { type: "boolean", help: "Never by itself" },
    "no-hold": { type: "boolean", help: "By itself again" },
    "no-wait": { type: "boolean", help: "Return once the request is recorded" },
    json: JSON_FLAG,
  },
  async run(ctx) {
    const { client, args, flags, out } = ctx;
    const machine = args[0]!;
    if (flags.idle !== undefined || flags.hold || flags["no-hold"]) return settle(ctx, machine);
    let m = await client().standbyMachine({ params: { machine }, body: { force: flags.force === true, wakeAt: wakeAt(flags) } });
    if (!flags["no-wait"]) {
      m = await waitFor(client(), m.id, out, (x) => hasHeard(x, m) && x.observed!.sleep.n >= m.sleep.n);
      const refused = m.observed!.sleep.refused;
      if (refused !== null && m.state !== "standby")
        throw new HyperlaneError("STATE", `"${m.name}": ${refused}`, { hint: `Although they break: vps standby ${m.name} --force` });
    }
    out.done(flags["no-wait"] ? `Asked ${m.name} to standby` : `${m.name} is in standby`);
    out.data(m);
  },
};

async function settle({ client, flags, out }: Context, machine: string): Promise<void> {
  if (flags.hold && flags["no-hold"]) throw new HyperlaneError("USAGE", "--hold and --no-hold exclude each other.");
  const idle = flags.idle === undefined ? {} : { idleS: idleSeconds(flags.idle as string) };
  const hold = flags.hold ? { hold: true } : flags["no-hold"] ? { hold: false } : {};
  const m = await client().updateMachine({ params: { machine }, body: { ...idle, ...hold } });
  const { idleS } = m.spec;
  out.done(
    `${m.name} ${m.spec.hold ? "is held awake" : idleS === null ? "sleeps only when it is told to" : `sleeps after ${idleS} s with nothing to do`}`,
  );
  out.data(m);
}

/** null: never. */
export function idleSeconds(text: string): number | null {
  if (text === "never") return null;
  const seconds = parseDuration(text, UNITS);
  if (seconds === undefined)
    throw new HyperlaneError("INVALID", `--idle must be a time like 10m, or never, not "${text}".`, { field: "idle" });
  return Math.round(seconds);
}

function wakeAt(flags: Context["flags"]): number | null {
  if (flags.for !== undefined && flags.until !== undefined) throw new HyperlaneError("USAGE", "--for and --until exclude each other.");
  if (flags.for !== undefined) {
    const seconds = parseDuration(flags.for as string, UNITS);
    if (seconds === undefined)
      throw new HyperlaneError("INVALID", `--for must be a time like 8h, not "${String(flags.for)}".`, { field: "for" });
    return Date.now() + seconds * 1000;
  }
  if (flags.until === undefined) return null;
  const text = flags.until as string;
  const at = parseTime(text);
  if (Number.isNaN(at))
    throw new HyperlaneError("INVALID", `--until must be a time like 08:00 or 2026-12-01T08:00, not "${text}".`, { field: "until" });
  if (at <= Date.now()) throw new HyperlaneError("INVALID", `--until ${text} is over already.`, { field: "until" });
  return at;
}

/** A time of day is the next of these. */
function parseTime(text: string): number {
  const [, hours, minutes] = /^(\d{1,2}):(\d\d)$/.exec(text) ?? [];
  if (hours === undefined) return Date.parse(text);
  const at = new Date();
  at.setHours(Number(hours), Number(minutes), 0, 0);
  return at.getTime() > Date.now() ? at.getTime() : at.setDate(at.getDate() + 1);
}
