/** Links that sign a browser in, once and soon. They live in memory: one that is lost is made again. */
import { randomBytes } from "node:crypto";
import type { StoredToken } from "#control/model/state.ts";
import { hashSecret } from "./tokens.ts";

const LINK_MS = 5 * 60 * 1000;
/** Of those that nobody has used. */
const LINKS_MAX = 1000;

export type Links = ReturnType<typeof createLinks>;

export function createLinks(now: () => number) {
  const open = new Map<string, { token: StoredToken; expiresAt: number }>();
  return {
    make(token: StoredToken): { code: string; expiresAt: number } {
      for (const [hash, link] of open) if (link.expiresAt <= now() || open.size >= LINKS_MAX) open.delete(hash);
      const code = randomBytes(32).toString("base64url");
      const expiresAt = now() + LINK_MS;
      open.set(hashSecret(code), { token, expiresAt });
      return { code, expiresAt };
    },
    /** Whose link it was; undefined: it is used, too old, or none. */
    take(code: string): StoredToken | undefined {
      const hash = hashSecret(code);
      const link = open.get(hash);
      open.delete(hash);
      return link && link.expiresAt > now() ? link.token : undefined;
    },
  };
}
