/**
 * The door of a machine that sleeps: its TAP is held in its VMM's stead, so that the first frame for it wakes it. What
 * came until it is awake is kept, and then delivered: whoever knocked need not knock again.
 */
import { closeSync } from "node:fs";
import { openTap, sendFrames } from "#agent/host/libc.ts";
import { isFor, splitFrames } from "./frame.ts";
import type { Addresses } from "./plan.ts";

export type Doorbell = ReturnType<typeof watchDoor>;

const KEPT_MAX = 256;

/** ring: called at the first frame for it. */
export function watchDoor(addresses: Addresses, ring: () => void) {
  const fd = openTap(addresses.tap);
  const reader = (Bun.file(fd).stream() as ReadableStream<Uint8Array>).getReader();
  const kept: Buffer[] = [];
  const listen = async (): Promise<void> => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const frame of splitFrames(Buffer.from(value))) {
        if (kept.length >= KEPT_MAX || !isFor(addresses, frame)) continue;
        kept.push(frame);
        if (kept.length === 1) ring();
      }
    }
  };
  // An interface that was taken away is no door any more.
  const listening = listen().catch(() => {});
  return {
    /** Leaves the TAP to the VMM. */
    async close(): Promise<void> {
      await reader.cancel().catch(() => {});
      await listening;
      closeSync(fd);
    },
    /** Delivers what has come. */
    deliver(): void {
      if (kept.length) sendFrames(addresses.tap, kept);
    },
  };
}
