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
  let transient = false;
  const clear = (): void => {
    if (transient) process.stderr.write("\r\x1b[2K");
    transient = false;
  };
  const write = (text: string): void => {
    clear();
    process.stdout.write(text);
  };
  const writeError = (text: string): void => {
    clear();
    process.stderr.write(text);
  };
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
    note: (text: string): void => writeError(`${text}\n`),
    /** One line that says what goes on, on a terminal only; whatever is printed next takes its place, and null takes it away. */
    progress(text: string | null): void {
      clear();
      if (text === null || !errTty || json) return;
      process.stderr.write(paint(errTty)("dim", text));
      transient = true;
    },
    /** A step that is done. On stderr with --json, so that stdout stays JSON. */
    done: (text: string): void => (json ? writeError : write)(`${paint(json ? errTty : tty)("green", "✔")} ${text}\n`),
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
      writeError(`${red("red", "✘")} ${e.message}\n  ${red("dim", "→")} ${e.hint}\n`);
      return ERRORS[e.code].exit;
    },
  };
}
