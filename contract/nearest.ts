/** "Did you mean": the closest of some names, if it is close enough to be a slip of the fingers. */

/** Looking further than this through names costs more than the hint is worth. */
const LOOKED_AT = 2_000;
const LENGTH_MAX = 64;
const DIFFERENCE_MAX = 8;

/** The first of the closest. */
export function nearest(word: string, names: Iterable<string>): string | undefined {
  let best: { name: string; slips: number } | undefined;
  let left = LOOKED_AT;
  for (const name of names) {
    if (--left < 0) break;
    if (word.length > LENGTH_MAX || Math.abs(word.length - name.length) > DIFFERENCE_MAX) continue;
    const slips = distance(word, name);
    if (slips <= Math.max(1, Math.floor(word.length / 3)) && (!best || slips < best.slips)) best = { name, slips };
  }
  return best?.name;
}

/** Damerau-Levenshtein (optimal string alignment): swapped letters are one slip. */
function distance(a: string, b: string): number {
  const d = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)));
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      d[i]![j] = Math.min(d[i - 1]![j]! + 1, d[i]![j - 1]! + 1, d[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d[i]![j] = Math.min(d[i]![j]!, d[i - 2]![j - 2]! + 1);
    }
  return d[a.length]![b.length]!;
}
