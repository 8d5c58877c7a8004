/** The last events that the stream told, for whoever shows events. */
import { useSyncExternalStore } from "react";
import type { Event } from "#contract/resources/other.ts";

const KEPT = 5000;
/** However many come, what shows them is drawn this often. */
const TELL_MS = 200;

let kept: readonly Event[] = [];
let fresh: Event[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<() => void>();

export function keepEvents(events: readonly Event[]): void {
  if (!events.length) return;
  fresh.push(...events);
  timer ??= setTimeout(() => {
    timer = undefined;
    kept = [...kept, ...fresh].slice(-KEPT);
    fresh = [];
    listeners.forEach((l) => l());
  }, TELL_MS);
}

/** Oldest first. */
export function useLiveEvents(): readonly Event[] {
  return useSyncExternalStore(
    (listener) => (listeners.add(listener), () => void listeners.delete(listener)),
    () => kept,
  );
}

/** What was read and what came since, each once, oldest first. */
export function joinEvents(read: readonly Event[], came: readonly Event[]): readonly Event[] {
  const last = read.at(-1)?.seq ?? 0;
  const newer = came.filter((e) => e.seq > last);
  return newer.length ? [...read, ...newer] : read;
}
