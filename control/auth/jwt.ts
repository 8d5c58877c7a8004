/**
 * JSON Web Tokens (RFC 7519) as bearer tokens, HS256 with the secret that the host was set up with (JWT_SECRET). `sub` is
 * who it is, `role` what they may do (admin unless it says viewer); `exp` and `nbf` hold.
 */
import { jwtVerify, SignJWT } from "jose";
import { HyperlaneError } from "#contract/errors.ts";
import { Role } from "#contract/resources/other.ts";
import type { StoredToken } from "#control/model/state.ts";

const ALGORITHM = "HS256";

/** It has the form of one: three parts, the first of which begins a JSON object. */
export function looksLikeJwt(secret: string): boolean {
  return /^eyJ[\w-]*\.[\w-]+\.[\w-]*$/.test(secret);
}

/** undefined: not signed with this secret, or not valid now. */
export async function verifyJwt(jwt: string, secret: string, now: number): Promise<StoredToken | undefined> {
  const verified = await jwtVerify(jwt, new TextEncoder().encode(secret), { algorithms: [ALGORITHM], currentDate: new Date(now) }).catch(
    () => undefined,
  );
  const role = Role.safeParse(verified?.payload.role ?? "admin");
  if (!verified || !role.success || typeof verified.payload.sub !== "string" || !verified.payload.sub) return undefined;
  const name = verified.payload.sub.slice(0, 64);
  const { iat = 0, exp } = verified.payload;
  return { id: `jwt:${name}`, name, role: role.data, hash: "", createdAt: iat * 1000, ...(exp !== undefined && { expiresAt: exp * 1000 }) };
}

/** seconds: how long it is good for. */
export async function signJwt(secret: string | null, sub: string, role: Role, seconds: number): Promise<string> {
  if (secret === null)
    throw new HyperlaneError("STATE", "This control plane takes no JSON Web Tokens: it has no secret to sign them with.", {
      hint: "JWT_SECRET=... hyperlane init sets one; `vps token create` makes tokens of the other kind.",
    });
  const expires = Math.floor(Date.now() / 1000) + seconds;
  return await new SignJWT({ role })
    .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
    .setSubject(sub)
    .setIssuedAt()
    .setExpirationTime(expires)
    .sign(new TextEncoder().encode(secret));
}
