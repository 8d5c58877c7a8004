/** The only writer to stdout. stdout is data; progress, hints and errors go to stderr. */
import { ERRORS, type HyperlaneError } from "#contract/errors.ts";

export type Output = ReturnType<typeof createOutput>;
const CODES = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33", cyan: "36" };

export function createOutput(json: boolean) {
  const tty = process.stdout.isTTY === true && !json;
  const errTty = process.stderr.isTTY === true;
  const plain = (process.env.NO_COLOR ?? "") !== "" || process.env.TERM === "dumb";
  const paint =
    (on: boolean) =>
    (color: keyof typeof CODES, text: string): string =>
      on && !plain ? `\x1b[${CODES[color]}m${text}\x1b[0m` : text;
  const write = (text: string): void => void process.stdout.write(text);
  return {
    json,
    tty,
    errTty,
    color: paint(tty),
    line: (text = ""): void => (json ? undefined : write(`${text}\n`)),
    data: (value: unknown): void => (json ? write(`${JSON.stringify(value, null, 2)}\n`) : undefined),
    ndjson: (value: unknown): void => write(`${JSON.stringify(value)}\n`),
    raw: (bytes: Uint8Array): boolean => process.stdout.write(bytes),
    rawError: (bytes: Uint8Array): boolean => process.stderr.write(bytes),
    note: (text: string): void => void process.stderr.write(`${text}\n`),
    /** A step that is done. On stderr with --json, so that stdout stays JSON. */
    done: (text: string): void =>
      void (json ? process.stderr : process.stdout).write(`${paint(json ? errTty : tty)("green", "✔")} ${text}\n`),
    /** Upper-case headers, two spaces, no borders. Cut to the terminal's width only on a terminal. */
    table(headers: string[], rows: string[][]): void {
      if (json) return;
      const visible = (s: string): number => Bun.stringWidth(s);
      const widths = headers.map((h, i) => Math.max(visible(h), ...rows.map((r) => visible(r[i] ?? ""))));
      for (const [n, row] of [headers, ...rows].entries()) {
        const cells = row.map((c, i) => (i === row.length - 1 ? c : c + " ".repeat(widths[i]! - visible(c))));
        const text = cells.join("  ").trimEnd();
        write(`${n === 0 ? paint(tty)("dim", text) : text}\n`);
      }
    },
    error(e: HyperlaneError): number {
      const red = paint(errTty);
      if (json) write(`${JSON.stringify({ error: e.toJSON() }, null, 2)}\n`);
      process.stderr.write(`${red("red", "✘")} ${e.message}\n  ${red("dim", "→")} ${e.hint}\n`);
      return ERRORS[e.code].exit;
    },
  };
}
