/** Help, from the command table. */
import { nearest } from "#contract/nearest.ts";
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
  for (const [group, rows] of groups) lines.push(group, ...rows.map(([name, row]) => `  ${name.padEnd(20)}${row.summary}`), "");
  lines.push(
    "Other",
    "  completion SHELL    Completion for bash, zsh or fish",
    "  version             Print the version",
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
  const near = nearest(word, [...Object.keys(COMMANDS), "completion", "version", "help"]);
  return near === undefined ? "`vps --help` shows all commands." : `Did you mean \`vps ${near}\`?`;
}
