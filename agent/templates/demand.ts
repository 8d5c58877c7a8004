/** How many spares there are to be. Pure. */

/** at: when a machine was started, in ms. beside: how many of the same were starting at that moment, itself included. */
export type Start = { at: number; beside: number };
/** Of one template. starts: in their order. */
export type Demand = { key: string; memoryMib: number; starts: readonly Start[] };
export type Standing = { id: string; key: string };

/** Machines that are started one after the other find a spare each, as long as it takes to make others. */
const WINDOW_MS = 5_000;
/** What was long ago says nothing of what comes. */
export const FORGET_MS = 10 * 60_000;
/** Of the RAM that no machine was promised. */
const SHARE = 0.5;

/** Those that are too many, whatever for, and of which template one is to be made next: of what was wanted last, first. */
export function planSpares(
  demands: readonly Demand[],
  spares: readonly Standing[],
  roomMib: number,
  now: number,
): { dismiss: string[]; make: string | null } {
  const ordered = demands.toSorted((a, b) => b.starts.at(-1)!.at - a.starts.at(-1)!.at);
  const missing = new Map<string, number>();
  let leftMib = roomMib * SHARE;
  for (const { key, memoryMib, starts } of ordered) {
    const count = Math.min(mostAtOnce(starts.filter((s) => now - s.at < FORGET_MS)), Math.max(0, Math.floor(leftMib / memoryMib)));
    missing.set(key, count);
    leftMib -= count * memoryMib;
  }
  const dismiss = spares.filter(({ key }) => {
    const count = missing.get(key) ?? 0;
    missing.set(key, count - 1);
    return count <= 0;
  });
  const make = ordered.find((d) => missing.get(d.key)! > 0);
  return { dismiss: dismiss.map((s) => s.id), make: make?.key ?? null };
}

/** Whoever starts one machine does not yet start many: a single one makes no demand. */
function mostAtOnce(starts: readonly Start[]): number {
  if (starts.length < 2) return 0;
  let [most, from] = [0, 0];
  for (const [i, { at, beside }] of starts.entries()) {
    while (at - starts[from]!.at >= WINDOW_MS) from++;
    most = Math.max(most, i - from + 1, beside);
  }
  return most;
}
