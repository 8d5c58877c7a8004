/** vps: argv -> command -> exit code. One place parses, one maps errors. Commands load when they are used. */
import { parseArgs } from "node:util";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { VERSION } from "#contract/version.ts";
import type { Command } from "#cli/command.ts";
import { createOutput } from "#cli/render/output.ts";
import { completionScript } from "#cli/completion.ts";
import { commandHelp, overview, suggestion } from "#cli/help.ts";
import { COMMANDS } from "#cli/table.ts";

const ALIASES: Record<string, string> = {
  ls: "list",
  rm: "destroy",
  images: "image list",
  pull: "image pull",
  push: "image push",
  tag: "image tag",
  rmi: "image rm",
  history: "image history",
  save: "image save",
  load: "image load",
  "image ls": "image list",
  "volume ls": "volume list",
  "network ls": "network list",
  "snapshot ls": "snapshot list",
  "node ls": "node list",
  "token ls": "token list",
};

export async function runVps(argv: string[]): Promise<number> {
  let out = createOutput(argv.includes("--json"));
  // Whoever read our output has enough of it: end as SIGPIPE would.
  const end = (thrown: unknown): number => {
    if ((thrown as NodeJS.ErrnoException | null)?.code === "EPIPE") return 141;
    const error = toHyperlaneError(thrown);
    if (error.code === "BUG" && process.env.HYPERLANE_DEBUG)
      out.note(String(error.cause instanceof Error ? error.cause.stack : error.stack));
    return out.error(error);
  };
  for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, (thrown) => process.exit(end(thrown)));
  const about = await aboutUs(argv, out).catch(end);
  if (about !== undefined) return about;
  return await (async () => {
    const { command, own, rest } = await resolve(argv);
    // What belongs to a command of the user's is none of our business, not even --json.
    out = createOutput(own.includes("--json"));
    return await run(command, own, rest, out);
  })().catch(end);
}

/** Help and the like; undefined: it is a command's turn. */
async function aboutUs(words: string[], out: ReturnType<typeof createOutput>): Promise<number | undefined> {
  const [first, second] = words;
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    const about = first === "help" ? words.slice(1).join(" ") : "";
    const command = about ? await find(about) : undefined;
    if (about && !command) throw new HyperlaneError("USAGE", `There is no command "${about}".`, { hint: suggestion(about) });
    out.line(command ? commandHelp(command) : overview());
    return 0;
  }
  if (first === "version" || first === "--version" || first === "-V") {
    out.data({ version: VERSION });
    out.line(`vps ${VERSION}`);
    return 0;
  }
  if (first !== "completion") return undefined;
  out.line(completionScript(second));
  return 0;
}

/** The command, the words that are ours, and those that are the user's own command. */
async function resolve(words: string[]): Promise<{ command: Command; own: string[]; rest: string[] }> {
  const [first = "", second] = words;
  const pair = `${first} ${second ?? ""}`;
  const nested = await find(ALIASES[pair] ?? pair);
  const command = nested ?? (await find(ALIASES[first] ?? first));
  if (!command) throw new HyperlaneError("USAGE", `There is no command "${first}".`, { hint: suggestion(first) });
  const args = words.slice(nested ? 2 : 1);
  const dashes = args.indexOf("--");
  const end = command.trailing ? nameEnd(command, args) : dashes < 0 ? args.length : dashes;
  const rest = args.slice(end);
  return { command, own: args.slice(0, end), rest: rest[0] === "--" ? rest.slice(1) : rest };
}

/** Where the machine's name ends, and with it our own words: what follows is the command to run there, as Docker and ssh take it. */
function nameEnd({ flags = {} }: Command, words: string[]): number {
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!word.startsWith("-")) return i + 1;
    const flag = Object.entries(flags).find(([name, f]) => word === `--${name}` || word === `-${f.short}`)?.[1];
    if (flag?.type === "string") i++;
  }
  return words.length;
}

async function run(command: Command, words: string[], rest: string[], out: ReturnType<typeof createOutput>): Promise<number> {
  if (words.includes("--help") || words.includes("-h")) {
    out.line(commandHelp(command));
    return 0;
  }
  const options = Object.fromEntries(
    Object.entries(command.flags ?? {}).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short && { short }), ...(multiple && { multiple }) },
    ]),
  );
  let parsed;
  try {
    parsed = parseArgs({ args: words, options, allowPositionals: true });
  } catch (cause) {
    throw new HyperlaneError("USAGE", (cause as Error).message.split(/\. |\n/)[0]!.replace(/\.?$/, "."), {
      hint: `See: vps ${command.name} --help`,
      cause,
    });
  }
  const [least, most] = command.args;
  const count = parsed.positionals.length;
  if (count < least || count > most)
    throw new HyperlaneError(
      "USAGE",
      count < least ? `Something is missing: ${command.usage}` : `"${parsed.positionals[most]}" is too much: ${command.usage}`,
      { hint: `See: vps ${command.name} --help` },
    );
  const [{ createClient }, { readContext }] = await Promise.all([import("#sdk/client.ts"), import("#cli/config.ts")]);
  const client = lazily(() => createClient(readContext()));
  return (await command.run({ args: parsed.positionals, rest, flags: parsed.values as never, out, client })) ?? 0;
}

async function find(name: string): Promise<Command | undefined> {
  const load = COMMANDS[name as keyof typeof COMMANDS]?.load;
  return load ? await load() : undefined;
}

function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}
