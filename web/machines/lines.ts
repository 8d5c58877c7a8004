/** A log as lines: pieces of bytes in, whole lines out, without what only a terminal understands. Pure. */
export type Line = { n: number; text: string; bad: boolean };

/** The most that are kept; older ones go. */
export const LINES_KEPT = 20_000;
const CONTROL = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f]/g;

/** stderr and stdout are each whole lines of their own. */
export function createLines() {
  const open = { out: { rest: "", decoder: new TextDecoder() }, err: { rest: "", decoder: new TextDecoder() } };
  let n = 0;
  return {
    /** Lines that are whole now. */
    push(bytes: Uint8Array, bad: boolean): Line[] {
      const from = bad ? open.err : open.out;
      const parts = (from.rest + from.decoder.decode(bytes, { stream: true })).split("\n");
      from.rest = parts.pop()!;
      return parts.map((text) => ({ n: ++n, text: clean(text), bad }));
    },
    /** What has not ended yet, as a line. */
    end(): Line[] {
      return [open.out, open.err].flatMap(({ rest }, i) => (rest ? [{ n: ++n, text: clean(rest), bad: i === 1 }] : []));
    },
  };
}

/** A carriage return begins the line anew, as on a terminal. */
function clean(text: string): string {
  return text
    .replace(/\r$/, "")
    .replace(/^[^]*\r/, "")
    .replace(CONTROL, "");
}
