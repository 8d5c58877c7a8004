/** Points in time as people say them, kept current. */
import { useSyncExternalStore } from "react";

const TICK_MS = 10_000;
const listeners = new Set<() => void>();
let now = Date.now();
setInterval(() => {
  now = Date.now();
  listeners.forEach((l) => l());
}, TICK_MS);

const UNITS: [seconds: number, name: string][] = [
  [86_400, "d"],
  [3600, "h"],
  [60, "m"],
];

/** "just now", "4m", "3h", "12d". */
export function ageOf(at: number, from: number): string {
  const seconds = Math.max(0, Math.round((from - at) / 1000));
  const unit = UNITS.find(([s]) => seconds >= s);
  return unit ? `${Math.floor(seconds / unit[0])}${unit[1]}` : seconds < 10 ? "now" : `${seconds}s`;
}

export function Ago({ at, suffix = false }: { at: number; suffix?: boolean }) {
  const from = useSyncExternalStore(
    (l) => (listeners.add(l), () => void listeners.delete(l)),
    () => now,
  );
  const age = ageOf(at, Math.max(from, at));
  return (
    <time dateTime={new Date(at).toISOString()} title={new Date(at).toLocaleString()} className="whitespace-nowrap">
      {age === "now" ? "just now" : suffix ? `${age} ago` : age}
    </time>
  );
}
