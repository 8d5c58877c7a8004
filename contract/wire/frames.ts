/**
 * The frames that streams are made of, from a user's terminal to a process in a machine. The format is
 * specified in guest/frames.h; the same types travel, without the header, one a WebSocket or gRPC message
 * (messages.ts), so that a hop in between only passes bytes on.
 */
import { F } from "./messages.ts";

export const FRAME_MAX = 32768;
export const FRAME_HEAD = 12;
export const SYNC_MAGIC = Buffer.from("\xffHLSYNC1", "latin1");

export type Frame = { stream: number; type: number; payload: Buffer };

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
