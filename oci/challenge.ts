/** The WWW-Authenticate header of registries (RFC 9110 section 11; distribution's token specification). */
export type Challenge = { scheme: string; realm?: string; service?: string; scope?: string };

export function parseChallenge(header: string): Challenge | undefined {
  const match = /^\s*([A-Za-z]+)\s*(.*)$/s.exec(header);
  if (!match) return undefined;
  const challenge: Challenge = { scheme: match[1]!.toLowerCase() };
  for (const [, key, quoted, bare] of match[2]!.matchAll(/([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/gi)) {
    const name = key!.toLowerCase();
    if (name === "realm" || name === "service" || name === "scope") challenge[name] = (quoted ?? bare ?? "").replace(/\\(.)/g, "$1");
  }
  return challenge;
}
