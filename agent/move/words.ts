/** What the two ends of a machine's way tell each other, as JSON lines on the control stream. */
import { z } from "zod";
import { Record } from "#agent/machine/record.ts";
import type { Driver } from "#runtimes/driver.ts";

/** Of the source's record what the target goes on with. */
export const Passport = Record.pick({ origin: true, places: true, logFrom: true, copied: true, steps: true, sleep: true, wakeAt: true });
export type Passport = z.infer<typeof Passport>;

export const Word = z.discriminatedUnion("kind", [
  /** The source: this is what comes. vmm: what it runs on, with its version. */
  z.object({ kind: z.literal("hello"), passport: Passport, diskBytes: z.number(), vmm: z.string() }),
  /** The target: there is a place for it. */
  z.object({ kind: z.literal("ready") }),
  /** The source: it stands still, since then (ms since 1970), and all of it has been sent. */
  z.object({ kind: z.literal("sent"), since: z.number() }),
  /** The target: all of it has come. */
  z.object({ kind: z.literal("arrived") }),
  z.object({ kind: z.literal("failed"), reason: z.string() }),
]);
export type Word = z.infer<typeof Word>;

export function encodeWord(word: Word): Uint8Array {
  return Buffer.from(`${JSON.stringify(word)}\n`);
}

/** Takes bytes in pieces of any size; gives whole words. Throws where one is none. */
export function createWordReader(take: (word: Word) => void): (bytes: Buffer) => void {
  let text = "";
  return (bytes) => {
    text += bytes.toString("utf8");
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      take(Word.parse(JSON.parse(line)));
    }
  };
}

/** What a VMM's machine can go on in. */
export async function vmmOf(driver: Pick<Driver, "name" | "version">): Promise<string> {
  return `${driver.name}, ${await driver.version()}`;
}
