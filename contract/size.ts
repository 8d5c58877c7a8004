/** Sizes as people write them. Binary throughout: 1K is 1024 bytes, and 1G of RAM is 1024 MiB. */

const UNITS: Record<string, number> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** "8G", "512m", "1.5GiB" or a plain number of MiB -> whole MiB. undefined when it is no size. */
export function parseMib(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (!match) return undefined;
  const unit = match[2]!.toLowerCase();
  const bytes = Number(match[1]) * (unit === "" ? UNITS.m! : UNITS[unit]!);
  const mib = bytes / 2 ** 20;
  return Number.isSafeInteger(mib) && mib > 0 ? mib : undefined;
}

/** MiB -> "512M", "8G", "1.5G". */
export function formatMib(mib: number): string {
  if (mib < 1024) return `${mib}M`;
  const [value, unit] = mib < 1024 * 1024 ? [mib / 1024, "G"] : [mib / 1024 / 1024, "T"];
  return `${Number.isInteger(value) ? value : value.toFixed(1)}${unit}`;
}
