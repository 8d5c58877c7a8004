/** How many spares there are to be. Pure. */

/** starts: when machines of it were started, in ms. */
export type Demand = { key: string; memoryMib: number; starts: readonly number[] };
/** Each has its template's key. */
export type Standing = { id: string; key: string; memoryMib: number };

/** Starts within this time have come at once. */
const WINDOW_MS = 10_000;
/** What was long ago says nothing of what comes. */
export const FORGET_MS = 10 * 60_000;
/** Of the RAM that no machine was promised. */
const SHARE = 0.5;

/** Those that are too many, whatever for, and of which template one is to be made next. */
export function planSpares(
  demands: readonly Demand[],
  spares: readonly Standing[],
  roomMib: number,
  now: number,
): { dismiss: string[]; make: string | null } {
  const missing = new Map(demands.map((d) => [d.key, mostAtOnce(d.starts.filter((at) => now - at < FORGET_MS))]));
  let leftMib = roomMib * SHARE;
  const dismiss = spares.filter(({ key, memoryMib }) => {
    const wanted = missing.get(key) ?? 0;
    if (wanted === 0 || leftMib < memoryMib) return true;
    missing.set(key, wanted - 1);
    leftMib -= memoryMib;
    return false;
  });
  const make = demands.find((d) => missing.get(d.key)! > 0 && leftMib >= d.memoryMib);
  return { dismiss: dismiss.map((s) => s.id), make: make?.key ?? null };
}

/** Whoever starts one machine does not yet start many: a single one makes no demand. */
function mostAtOnce(starts: readonly number[]): number {
  if (starts.length < 2) return 0;
  return Math.max(...starts.map((from) => starts.filter((at) => at >= from && at - from < WINDOW_MS).length));
}
