/** Bytes to a machine, never more than the window ahead of what it has taken. */
import { F, WINDOW } from "#contract/wire/messages.ts";
import type { Stream } from "./client.ts";

const CHUNK = 16_384;

export function createWindow() {
  let credit = WINDOW;
  let wake: (() => void) | undefined;
  return {
    /** Room that the machine has made. */
    credit(bytes: number): void {
      credit += bytes;
      wake?.();
    },
    async send(stream: Stream, bytes: Uint8Array): Promise<void> {
      for (let at = 0; at < bytes.length;) {
        while (credit <= 0) await new Promise<void>((go) => (wake = go));
        const next = bytes.subarray(at, at + Math.min(CHUNK, credit));
        credit -= next.length;
        at += next.length;
        stream.send(F.STDIN, next);
      }
    },
  };
}
