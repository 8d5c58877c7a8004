/**
 * The frames that streams are made of, from a user's terminal to a process in a machine. The format is
 * specified in guest/frames.h; the same types travel, without the header, one a WebSocket or gRPC message
 * (`type:u8 payload`), so that a hop in between only passes bytes on.
 */
export const FRAME_MAX = 32768;
export const FRAME_HEAD = 12;
/** Most bytes unacknowledged per stream and direction. */
export const WINDOW = 65536;
export const SYNC_MAGIC = Buffer.from("\xffHLSYNC1", "latin1");

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

export type Frame = { stream: number; type: number; payload: Buffer };
export type Exit = { kind: "code" | "signal" | "errno"; value: number; text: string };

const EXIT_KINDS = ["code", "signal", "errno"] as const;

export function encodeFrame(frame: { stream: number; type: number; payload: Uint8Array }): Buffer {
  const bytes = Buffer.alloc(FRAME_HEAD + frame.payload.length);
  bytes.writeUInt32LE(frame.payload.length, 0);
  bytes.writeUInt32LE(frame.stream, 4);
  bytes.writeUInt8(frame.type, 8);
  bytes.set(frame.payload, FRAME_HEAD);
  return bytes;
}

/** What a host sends first on every connect: enough zeros to end any frame cut off, then SYNC. */
export function encodeSync(nonce: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(FRAME_MAX + 2 * FRAME_HEAD), SYNC_MAGIC, nonce]);
}

/**
 * Bytes in, frames out, from the guest's side of the stream. What comes before the answer to our SYNC is
 * dropped. A malformed frame after it means that the guest is broken or hostile: it throws, and the caller
 * connects anew.
 */
export function createFrameReader(nonce: Buffer): { push(bytes: Buffer): Frame[]; readonly synced: boolean } {
  const answer = Buffer.concat([SYNC_MAGIC, nonce]);
  let held = Buffer.alloc(0);
  let synced = false;
  const next = (): Frame | undefined => {
    if (held.length < FRAME_HEAD) return undefined;
    const length = held.readUInt32LE(0);
    const type = held.readUInt8(8);
    if (length > FRAME_MAX || type < F.STDOUT || type > F.READY || held.readUIntLE(9, 3) !== 0)
      throw new Error("Malformed frame from the guest");
    if (held.length < FRAME_HEAD + length) return undefined;
    const frame = { stream: held.readUInt32LE(4), type, payload: Buffer.from(held.subarray(FRAME_HEAD, FRAME_HEAD + length)) };
    held = held.subarray(FRAME_HEAD + length);
    return frame;
  };
  return {
    get synced() {
      return synced;
    },
    push(bytes) {
      held = held.length ? Buffer.concat([held, bytes]) : Buffer.from(bytes);
      if (!synced) {
        const at = held.indexOf(answer);
        if (at < 0) {
          held = held.subarray(Math.max(0, held.length - answer.length));
          return [];
        }
        held = held.subarray(at + answer.length);
        synced = true;
      }
      const frames: Frame[] = [];
      for (let frame = next(); frame; frame = next()) frames.push(frame);
      return frames;
    },
  };
}

export type ExecRequest = {
  argv: string[];
  env: string[];
  workdir: string;
  user: string;
  tty: boolean;
  stdin: boolean;
  rows: number;
  cols: number;
};

export function encodeExec(r: ExecRequest): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8((r.tty ? 1 : 0) | (r.stdin ? 2 : 0), 0);
  head.writeUInt16LE(r.rows, 1);
  head.writeUInt16LE(r.cols, 3);
  const words = [r.workdir, r.user, String(r.argv.length), ...r.argv, ...r.env];
  return Buffer.concat([head, ...words.map((w) => Buffer.from(`${w}\0`))]);
}

/** To power off. signal and seconds: what a workload is told, and how long it gets. */
export function encodeStop(signal: number, seconds: number): Buffer {
  const bytes = Buffer.from([0, signal, 0, 0]);
  bytes.writeUInt16LE(seconds, 2);
  return bytes;
}

export function encodeU32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function encodeResize(rows: number, cols: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(rows, 0);
  bytes.writeUInt16LE(cols, 2);
  return bytes;
}

export function encodeExit(exit: Exit): Buffer {
  return Buffer.concat([Buffer.from([EXIT_KINDS.indexOf(exit.kind), exit.value & 255]), Buffer.from(exit.text)]);
}

export function decodeExit(payload: Buffer): Exit {
  return { kind: EXIT_KINDS[payload[0] ?? 0] ?? "errno", value: payload[1] ?? 0, text: payload.subarray(2).toString() };
}

/** The exit code a shell would report: 128 + n for a signal, 125 when the command could not be started at all. */
export function exitCode(exit: Exit): number {
  return exit.kind === "code" ? exit.value : exit.kind === "signal" ? 128 + exit.value : 125;
}

/** One message of a live stream: the frame without its header. */
export function encodeMessage(type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type]), payload]);
}

/** All that a command printed, and how it ended. */
export type Collected = { exit: Exit; stdout: string; stderr: string };

/** For those who want a command's output in one piece: takes its messages, lets it go on through `send`, and returns all at its end. */
export function createCollector(send: (type: number, payload: Buffer) => void): (type: number, payload: Buffer) => Collected | undefined {
  const said = { [F.STDOUT]: [] as Buffer[], [F.STDERR]: [] as Buffer[] };
  const text = (of: Buffer[]): string => Buffer.concat(of).toString();
  return (type, payload) => {
    if (type === F.STDOUT || type === F.STDERR) {
      said[type].push(Buffer.from(payload));
      send(F.CREDIT, encodeU32(payload.length));
    }
    return type === F.EXIT ? { exit: decodeExit(payload), stdout: text(said[F.STDOUT]), stderr: text(said[F.STDERR]) } : undefined;
  };
}
