/**
 * A workload's log, as init writes it (guest/log.c): the CRI's format, one record a line, and how it ended as the
 * last. What is in another form is passed on as it is: a machine with an init of its own writes its journal there. Pure.
 */
export type Output = { time: number; stamp: string; stream: "stdout" | "stderr"; bytes: Buffer };
/** code: as a shell would say it, 128 + n for a signal. */
export type WorkloadExit = { code: number; signal: number | null };

const RECORD = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr|exit) ([FP]) /;
const RECORD_MAX = 48;

/** Takes bytes in pieces of any size; gives what was printed, whole records only. */
export function createOutputReader(take: (output: Output) => void): { push(bytes: Buffer): void } {
  let held: Buffer = Buffer.alloc(0);
  return {
    push(bytes) {
      held = held.length ? Buffer.concat([held, bytes]) : Buffer.from(bytes);
      let at = 0;
      for (let end = held.indexOf(10, at); end >= 0; end = held.indexOf(10, at)) {
        const output = parseRecord(held.subarray(at, end));
        if (output) take(output);
        at = end + 1;
      }
      held = held.subarray(at);
    },
  };
}

/** line: without its newline. undefined: it says how the workload ended. */
function parseRecord(line: Buffer): Output | undefined {
  const match = RECORD.exec(line.toString("latin1", 0, RECORD_MAX));
  if (!match) return { time: NaN, stamp: "", stream: "stdout", bytes: Buffer.concat([line, NEWLINE]) };
  const [head, stamp, stream, whole] = match as unknown as [string, string, string, string];
  if (stream === "exit") return undefined;
  const content = line.subarray(head.length);
  return {
    time: Date.parse(stamp),
    stamp,
    stream: stream as Output["stream"],
    bytes: whole === "F" ? Buffer.concat([content, NEWLINE]) : content,
  };
}

const NEWLINE = Buffer.from("\n");
const EXIT = /Z exit F (code|signal) (\d{1,3})\n$/;

/** From the end of a log; undefined where the workload has not ended. */
export function exitOf(tail: string): WorkloadExit | undefined {
  const match = EXIT.exec(tail);
  if (!match) return undefined;
  const value = Number(match[2]);
  const signal = match[1] === "signal" ? value : null;
  return { code: signal === null ? value : 128 + value, signal };
}
