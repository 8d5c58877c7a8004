/** What a command is: data, from which parsing, help, completion and the golden tests follow. */
import type { HyperlaneError } from "#contract/errors.ts";
import type { Client } from "#sdk/client.ts";
import type { Output } from "#cli/render/output.ts";

export type Flag = { type: "string" | "boolean"; short?: string; multiple?: true; value?: string; help: string };
export type Context = {
  args: string[];
  /** After `--`. */
  rest: string[];
  flags: Record<string, string | boolean | string[] | undefined>;
  out: Output;
  client(): Client;
};
export type Command = {
  name: string;
  usage: string;
  summary: string;
  examples: string[];
  flags?: Record<string, Flag>;
  /** How many words it takes, at least and at most. */
  args: [number, number];
  /** What its words name, for completion. */
  complete?: "machine" | "image" | "volume" | "network";
  /** What follows its first word is a command of the user's, with or without `--` before it. */
  trailing?: true;
  run(context: Context): Promise<number | void>;
};
export const JSON_FLAG: Flag = { type: "boolean", help: "Print JSON, and nothing else, on stdout" };

/** undefined: what was asked for is not there. */
export function ifThere<T>(asked: Promise<T>): Promise<T | undefined> {
  return asked.catch((e: HyperlaneError) => (e.code === "NOT_FOUND" ? undefined : Promise.reject(e)));
}
