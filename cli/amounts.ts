/** Amounts as flags give them. */
import { HyperlaneError } from "#contract/errors.ts";
import { parseMib } from "#contract/size.ts";

/** A size in MiB; undefined where none is given. flag: its name, for the error. */
export function mibOf(flag: string, text: string | undefined): number | undefined {
  const mib = text === undefined ? undefined : parseMib(text);
  if (text !== undefined && mib === undefined)
    throw new HyperlaneError("INVALID", `--${flag} must be a size like 512M or 8G, not "${text}".`, { field: flag });
  return mib;
}

export function countOf(flag: string, text: string | undefined): number | undefined {
  if (text !== undefined && !/^\d+$/.test(text))
    throw new HyperlaneError("INVALID", `--${flag} must be a whole number, not "${text}".`, { field: flag });
  return text === undefined ? undefined : Number(text);
}
