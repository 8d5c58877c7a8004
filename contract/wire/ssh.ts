/**
 * SSH's wire encodings: RFC 4251 section 5 for strings, OpenSSH's PROTOCOL.certkeys for certificates and
 * PROTOCOL.key for private key files. ed25519 only. Keys are the raw 32 bytes.
 */
export const KEY_TYPE = "ssh-ed25519";
export const CERT_TYPE = "ssh-ed25519-cert-v01@openssh.com";

export function sshString(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([sshU32(bytes.length), bytes]);
}

export function sshU32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function sshU64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

export function publicBlob(publicKey: Uint8Array): Buffer {
  return Buffer.concat([sshString(KEY_TYPE), sshString(publicKey)]);
}

/** One line, as in an authorized_keys or known_hosts file. */
export function publicLine(publicKey: Uint8Array, comment = ""): string {
  return `${KEY_TYPE} ${publicBlob(publicKey).toString("base64")}${comment && ` ${comment}`}`;
}

/** The raw key of a "ssh-ed25519 AAAA..." line; undefined when it is none. */
export function parsePublicLine(line: string): Buffer | undefined {
  const [type, text = ""] = line.trim().split(/\s+/);
  const blob = Buffer.from(text, "base64");
  const head = publicBlob(Buffer.alloc(32));
  return type === KEY_TYPE && blob.length === head.length && blob.subarray(0, 19).equals(head.subarray(0, 19))
    ? Buffer.from(blob.subarray(19))
    : undefined;
}

export type CertificateRequest = {
  kind: "user" | "host";
  publicKey: Uint8Array;
  keyId: string;
  principals: string[];
  /** Unix seconds. */
  validAfter: number;
  validBefore: number;
  extensions: string[];
  serial: bigint;
  nonce: Uint8Array;
  caPublicKey: Uint8Array;
};

/** The part that the CA signs. */
export function certificateBody(r: CertificateRequest): Buffer {
  return Buffer.concat([
    sshString(CERT_TYPE),
    sshString(r.nonce),
    sshString(r.publicKey),
    sshU64(r.serial),
    sshU32(r.kind === "user" ? 1 : 2),
    sshString(r.keyId),
    sshString(Buffer.concat(r.principals.map(sshString))),
    sshU64(BigInt(r.validAfter)),
    sshU64(BigInt(r.validBefore)),
    sshString(""),
    sshString(Buffer.concat([...r.extensions].sort().map((e) => Buffer.concat([sshString(e), sshString("")])))),
    sshString(""),
    sshString(publicBlob(r.caPublicKey)),
  ]);
}

export function certificateLine(body: Buffer, signature: Uint8Array): string {
  return `${CERT_TYPE} ${Buffer.concat([body, sshString(signatureBlob(signature))]).toString("base64")}`;
}

export function signatureBlob(signature: Uint8Array): Buffer {
  return Buffer.concat([sshString(KEY_TYPE), sshString(signature)]);
}

/** An unencrypted OpenSSH private key file. check: any 32-bit number. */
export function privateFile(seed: Uint8Array, publicKey: Uint8Array, check: number): string {
  const inner = Buffer.concat([
    sshU32(check),
    sshU32(check),
    sshString(KEY_TYPE),
    sshString(publicKey),
    sshString(Buffer.concat([seed, publicKey])),
    sshString(""),
  ]);
  const pad = Buffer.from(Array.from({ length: (8 - (inner.length % 8)) % 8 }, (_, i) => i + 1));
  const blob = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    sshString("none"),
    sshString("none"),
    sshString(""),
    sshU32(1),
    sshString(publicBlob(publicKey)),
    sshString(Buffer.concat([inner, pad])),
  ]);
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${blob.toString("base64").replace(/.{70}/g, "$&\n").trimEnd()}\n-----END OPENSSH PRIVATE KEY-----\n`;
}
