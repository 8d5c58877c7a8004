import { HyperlaneError } from "#contract/errors.ts";
import type { Command } from "#cli/command.ts";
import { parseDuration } from "#cli/duration.ts";
import { printLogs } from "#cli/session.ts";

export const logs: Command = {
  name: "logs",
  usage: "vps logs NAME",
  summary: "What a machine's workload prints, or its console where it runs a whole system",
  examples: ["vps logs api-prod", "vps logs -f web", "vps logs -t --since 10m web", "vps logs api-prod --workload --tail 50"],
  args: [1, 1],
  complete: "machine",
  flags: {
    follow: { type: "boolean", short: "f", help: "Go on as more comes, until it ends" },
    timestamps: { type: "boolean", short: "t", help: "Say when each line was printed" },
    since: { type: "string", value: "TIME", help: "Only from then on: 10m, 2h, or 2026-11-21T10:00:00Z" },
    until: { type: "string", value: "TIME", help: "Only before then" },
    tail: { type: "string", short: "n", value: "N", help: "Only the last N lines" },
    console: { type: "boolean", help: "The console instead of the workload" },
    workload: { type: "boolean", help: "The workload (a system's journal) instead of the console" },
  },
  async run({ client, args, flags, out }) {
    const source = flags.workload ? "workload" : flags.console ? "console" : undefined;
    const [since, until] = [time("since", flags.since), time("until", flags.until)];
    const tail = flags.tail === "all" ? undefined : (flags.tail as string | undefined);
    await printLogs(client(), args[0]!, out, {
      follow: flags.follow === true,
      timestamps: flags.timestamps === true,
      ...(source && { source }),
      ...(tail !== undefined && { tail }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
    });
  },
};

/** Unix milliseconds: a time, seconds since 1970, or how long ago. */
function time(flag: string, value: unknown): number | undefined {
  if (typeof value !== "string") return undefined;
  const ago = parseDuration(value, { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 });
  if (ago !== undefined) return Date.now() - ago;
  const at = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1000 : Date.parse(value);
  if (!Number.isNaN(at)) return at;
  throw new HyperlaneError("INVALID", `--${flag} must be like 10m, 2h or 2026-11-21T10:00:00Z, not "${value}".`, { field: flag });
}
