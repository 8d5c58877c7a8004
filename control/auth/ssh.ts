/** The SSH certificate authority: one key for users, one for hosts, so that neither can sign what the other vouches for. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { certificateBody, certificateLine, privateFile, publicLine, type CertificateRequest } from "#contract/wire/ssh.ts";
import type { Identity } from "#contract/wire/agent.ts";

/** User certificates live just long enough to log in; an open session outlives its certificate. */
export const USER_TTL_S = 5 * 60;
const HOST_TTL_S = 366 * 24 * 3600;
/** Clocks of user, host and machine may differ by this much. */
const SKEW_S = 120;

export type SshCa = ReturnType<typeof createSshCa>;

/** Two fresh CA keys as PEM. */
export function generateSshCaKeys(): { user: string; host: string } {
  const pem = () => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { user: pem(), host: pem() };
}

export function createSshCa(pems: { user: string; host: string }, now: () => number) {
  const user = createPrivateKey(pems.user);
  const host = createPrivateKey(pems.host);
  const issue = (
    ca: KeyObject,
    r: Omit<CertificateRequest, "serial" | "nonce" | "caPublicKey" | "validAfter" | "validBefore">,
    ttlS: number,
  ) => {
    const at = Math.floor(now() / 1000);
    const validBefore = at + ttlS;
    const body = certificateBody({
      ...r,
      serial: randomBytes(8).readBigUInt64BE(),
      nonce: randomBytes(32),
      caPublicKey: rawPublic(ca),
      validAfter: at - SKEW_S,
      validBefore,
    });
    return { certificate: certificateLine(body, sign(null, body, ca)), expiresAt: validBefore * 1000 };
  };
  return {
    userCa: publicLine(rawPublic(user), "hyperlane-user-ca"),
    hostCa: publicLine(rawPublic(host), "hyperlane-host-ca"),
    /** A certificate for one machine only: its principal is the machine's id. */
    signUser(publicKey: Uint8Array, machineId: string, keyId: string) {
      return issue(
        user,
        { kind: "user", publicKey, keyId, principals: [machineId], extensions: ["permit-pty", "permit-port-forwarding", "permit-user-rc"] },
        USER_TTL_S,
      );
    },
    /** A fresh host key and its certificate. The key exists in the machine's RAM and nowhere else for long. */
    hostIdentity(machine: { id: string; name: string }): Identity {
      const key = generateKeyPairSync("ed25519").privateKey;
      const seed = Buffer.from(key.export({ format: "jwk" }).d!, "base64url");
      const publicKey = rawPublic(key);
      const names = [machine.id, machine.name, `${machine.name}.internal`];
      const { certificate } = issue(host, { kind: "host", publicKey, keyId: machine.id, principals: names, extensions: [] }, HOST_TTL_S);
      return {
        hostKey: privateFile(seed, publicKey, randomBytes(4).readUInt32BE()),
        hostCertificate: `${certificate}\n`,
        userCa: `${this.userCa}\n`,
        principals: [machine.id],
      };
    },
  };
}

export function rawPublic(key: KeyObject): Buffer {
  const jwk = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  return Buffer.from(jwk.x!, "base64url");
}
