/** API tokens. The log and the database hold only a SHA-256 of the secret. */
import { createHash, randomBytes } from "node:crypto";
import type { Operation } from "#contract/operations.ts";
import type { Role } from "#contract/resources/other.ts";
import type { State, StoredToken } from "#control/model/state.ts";

const PERMISSIONS: Record<Role, readonly Operation["permission"][]> = {
  admin: ["open", "read", "write", "shell"],
  viewer: ["open", "read"],
};

export function allows(role: Role, permission: Operation["permission"]): boolean {
  return PERMISSIONS[role].includes(permission);
}

/** 256 random bits, so a plain fast hash of it can't be reversed. */
export function createSecret(): { secret: string; hash: string } {
  const secret = `hl_${randomBytes(32).toString("base64url")}`;
  return { secret, hash: hashSecret(secret) };
}

export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** The lookup is by hash, so its timing tells nothing about the secret. */
export function findToken(state: State, secret: string): StoredToken | undefined {
  const hash = hashSecret(secret);
  for (const token of state.token.values()) if (token.hash === hash) return token;
  return undefined;
}

/** Ids carry their kind: m-..., s-..., i-..., t-..., n-..., v-..., w-..., b-... */
export function newId(kind: "m" | "s" | "i" | "t" | "n" | "v" | "w" | "b"): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  return `${kind}-${[...randomBytes(12)].map((b) => alphabet[b & 31]).join("")}`;
}
