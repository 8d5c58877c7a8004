/** Help, from the command table. */
import type { Command } from "#cli/command.ts";
import { COMMANDS } from "#cli/table.ts";

export function overview(): string {
  const groups = Map.groupBy(
    Object.entries(COMMANDS).filter(([name]) => name !== "ssh-proxy"),
    ([, row]) => row.group,
  );
  const lines = [
    "Servers, without the ceremony.",
    "",
    "  vps up api-prod            a real machine is running",
    "  vps ssh api-prod           and you are in it",
    "",
  ];
  for (const [group, rows] of groups) lines.push(group, ...rows.map(([name, row]) => `  ${name.padEnd(18)}${row.summary}`), "");
  lines.push(
    "Other",
    "  completion SHELL  Completion for bash, zsh or fish",
    "  version           Print the version",
    "",
    "vps COMMAND --help shows examples. --json prints JSON. NO_COLOR turns colours off.",
    "Exit codes: 0 done, 1 failed, 2 bad input, 3 bug, 4 not allowed, 5 not found, 6 conflict,",
    "7 no room, 8 unreachable, 9 database damaged, 124 timeout; exec and ssh pass on the command's own.",
  );
  return lines.join("\n");
}

export function commandHelp(command: Command): string {
  const flags = Object.entries(command.flags ?? {}).map(
    ([name, f]) => [`${f.short ? `-${f.short}, ` : "    "}--${name}${f.value ? ` ${f.value}` : ""}`, f.help] as const,
  );
  const width = Math.max(0, ...flags.map(([left]) => left.length)) + 2;
  return [
    command.summary,
    "",
    "Examples",
    ...command.examples.map((e) => `  ${e}`),
    "",
    "Usage",
    `  ${command.usage}${flags.length ? " [FLAGS]" : ""}`,
    ...(flags.length ? ["", "Flags", ...flags.map(([left, help]) => `  ${left.padEnd(width)}${help}`)] : []),
  ].join("\n");
}

export function suggestion(word: string): string {
  const names = [...Object.keys(COMMANDS), "completion", "version", "help"];
  const near = names.map((name) => ({ name, d: distance(word, name) })).sort((a, b) => a.d - b.d)[0]!;
  return near.d <= Math.max(1, Math.floor(word.length / 3)) ? `Did you mean \`vps ${near.name}\`?` : "`vps --help` shows all commands.";
}

/** Damerau-Levenshtein (optimal string alignment): swapped letters are one slip. */
export function distance(a: string, b: string): number {
  const d = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)));
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      d[i]![j] = Math.min(d[i - 1]![j]! + 1, d[i]![j - 1]! + 1, d[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d[i]![j] = Math.min(d[i]![j]!, d[i - 2]![j - 2]! + 1);
    }
  return d[a.length]![b.length]!;
}
