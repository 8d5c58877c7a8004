/** The commands that every kind of resource has alike, made from what is its own. */
import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import type { Client } from "#sdk/client.ts";

type Kind = "image" | "volume" | "network" | "template";

/** Everything about some, as JSON: one as it is, several as a list. */
export function inspecting(
  kind: Exclude<Kind, "template">,
  example: string,
  get: (client: Client, name: string) => Promise<unknown>,
): Command {
  return {
    name: `${kind} inspect`,
    usage: `vps ${kind} inspect NAME...`,
    summary: `Everything about ${kind}s, as JSON`,
    examples: [`vps ${kind} inspect ${example}`],
    args: [1, 100],
    complete: kind,
    flags: { json: JSON_FLAG },
    async run({ client, args, out }) {
      const found = await Promise.all(args.map((name) => get(client(), name)));
      const value = found.length === 1 ? found[0] : found;
      if (!out.json) out.line(JSON.stringify(value, null, 2));
      out.data(value);
    },
  };
}

/** remove: resolves once it is gone. nameOf: as a person knows it. */
export function removing<T>(
  kind: Kind,
  example: string,
  what: string,
  remove: (client: Client, name: string) => Promise<T>,
  nameOf: (gone: T) => string,
): Command {
  return {
    name: `${kind} rm`,
    usage: `vps ${kind} rm NAME...`,
    summary: `Remove ${what}`,
    examples: [`vps ${kind} rm ${example}`],
    args: [1, 100],
    ...(kind !== "template" && { complete: kind }),
    flags: { json: JSON_FLAG },
    async run({ client, args, out }) {
      const gone: T[] = [];
      for (const name of args) {
        gone.push(await remove(client(), name));
        out.done(`${capital(kind)} ${nameOf(gone.at(-1)!)} is removed`);
      }
      out.data(gone.length === 1 ? gone[0] : gone);
    },
  };
}

/** what: those that go. saying: the last line, for a person. */
export function pruning<T extends { removed: string[] }>(
  kind: Kind,
  what: string,
  prune: (client: Client) => Promise<T>,
  saying: (done: T) => string | null = () => null,
): Command {
  return {
    name: `${kind} prune`,
    usage: `vps ${kind} prune`,
    summary: `Remove every ${what}`,
    examples: [`vps ${kind} prune --yes`],
    args: [0, 0],
    flags: { yes: { type: "boolean", short: "y", help: "Do not ask" }, json: JSON_FLAG },
    async run({ client, flags, out }) {
      if (!flags.yes)
        throw new HyperlaneError("USAGE", `This removes every ${what}.`, { hint: `If that is what you want: vps ${kind} prune --yes` });
      const done = await prune(client());
      for (const name of done.removed) out.done(`${capital(kind)} ${name} is removed`);
      const last = saying(done);
      if (last !== null) out.line(last);
      out.data(done);
    },
  };
}

function capital(word: string): string {
  return word[0]!.toUpperCase() + word.slice(1);
}
