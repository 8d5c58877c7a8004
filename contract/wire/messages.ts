/**
 * What travels on a live stream: one message is `type:u8 payload`, the frame of frames.ts without its header. Nothing here
 * needs more than a browser has.
 */

/** Most bytes unacknowledged per stream and direction. */
export const WINDOW = 65536;

export const F = {
  EXEC: 1,
  STDIN: 2,
  EOF: 3,
  CREDIT: 4,
  SIGNAL: 5,
  RESIZE: 6,
  CONFIG: 7,
  STOP: 8,
  FREEZE: 9,
  STATS: 10,
  READ: 11,
  WRITE: 12,
  RUN: 13,
  ATTACH: 14,
  KILL: 15,
  STDOUT: 16,
  STDERR: 17,
  EXIT: 18,
  CREDIT_BACK: 19,
  READY: 20,
  /** Only in live streams, host to user: an error of ours as JSON. */
  ERROR: 21,
} as const;

export type Exit = { kind: "code" | "signal" | "errno"; value: number; text: string };

const EXIT_KINDS = ["code", "signal", "errno"] as const;
const decoder = new TextDecoder();

export function encodeMessage(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1 + payload.length);
  bytes[0] = type;
  bytes.set(payload, 1);
  return bytes;
}

export function encodeU32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function decodeU32(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getUint32(0, true);
}

export function encodeResize(rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, rows, true);
  view.setUint16(2, cols, true);
  return bytes;
}

/** To power off. signal and seconds: what a workload is told, and how long it gets. */
export function encodeStop(signal: number, seconds: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  bytes[1] = signal;
  new DataView(bytes.buffer).setUint16(2, seconds, true);
  return bytes;
}

export function encodeExit(exit: Exit): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(exit.text);
  const bytes = new Uint8Array(2 + text.length);
  bytes.set([EXIT_KINDS.indexOf(exit.kind), exit.value & 255]);
  bytes.set(text, 2);
  return bytes;
}

export function decodeExit(payload: Uint8Array): Exit {
  return { kind: EXIT_KINDS[payload[0] ?? 0] ?? "errno", value: payload[1] ?? 0, text: decoder.decode(payload.subarray(2)) };
}

/** The exit code a shell would report: 128 + n for a signal, 125 when the command could not be started at all. */
export function exitCode(exit: Exit): number {
  return exit.kind === "code" ? exit.value : exit.kind === "signal" ? 128 + exit.value : 125;
}

/** All that a command printed, and how it ended. */
export type Collected = { exit: Exit; stdout: string; stderr: string };

/** For those who want a command's output in one piece: takes its messages, lets it go on through `send`, and returns all at its end. */
export function createCollector(
  send: (type: number, payload: Uint8Array) => void,
): (type: number, payload: Uint8Array) => Collected | undefined {
  const said = { [F.STDOUT]: { text: "", decoder: new TextDecoder() }, [F.STDERR]: { text: "", decoder: new TextDecoder() } };
  const textOf = (of: (typeof said)[typeof F.STDOUT]): string => of.text + of.decoder.decode();
  return (type, payload) => {
    if (type === F.STDOUT || type === F.STDERR) {
      said[type].text += said[type].decoder.decode(payload, { stream: true });
      send(F.CREDIT, encodeU32(payload.length));
    }
    return type === F.EXIT ? { exit: decodeExit(payload), stdout: textOf(said[F.STDOUT]), stderr: textOf(said[F.STDERR]) } : undefined;
  };
}
