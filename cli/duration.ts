/** Lengths of time as people write them: "30s", "1m30s", "2h". units: what each may be counted in, in milliseconds. undefined: it is none. */
export function parseDuration(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const parts = [...text.matchAll(new RegExp(`(\\d+(?:\\.\\d+)?)(${Object.keys(units).join("|")})`, "g"))];
  if (!parts.length || parts.map((p) => p[0]).join("") !== text) return undefined;
  return parts.reduce((n, [, value, unit]) => n + Number(value) * units[unit!]!, 0);
}
