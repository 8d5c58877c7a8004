/**
 * An SSH agent that holds one key for the length of one connection: the key is made in memory, its certificate
 * comes from the control plane, and neither touches a disk. Protocol: draft-miller-ssh-agent, the two requests
 * that OpenSSH's client makes.
 */
import { generateKeyPairSync, sign } from "node:crypto";
import { chmodSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { CERT_TYPE, publicLine, signatureBlob, sshString, sshU32 } from "#contract/wire/ssh.ts";

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
const FAILURE = 5;

export function createKey() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { privateKey, publicLine: publicLine(Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url")) };
}

/** Serves at `path` until closed. A later one takes the path over by renaming; this one then leaves it alone. */
export async function serveAgent(path: string, key: ReturnType<typeof createKey>, certificate: string): Promise<{ close(): void }> {
  const blob = Buffer.from(certificate.split(" ")[1]!, "base64");
  const server = createServer((socket) => {
    let held = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      held = Buffer.concat([held, bytes]);
      while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
        const message = held.subarray(4, 4 + held.readUInt32BE(0));
        held = held.subarray(4 + message.length);
        socket.write(sshString(answer(message)));
      }
    });
  });
  const answer = (message: Buffer): Buffer => {
    if (message[0] === REQUEST_IDENTITIES)
      return Buffer.concat([Buffer.from([IDENTITIES_ANSWER]), sshU32(1), sshString(blob), sshString(CERT_TYPE)]);
    if (message[0] === SIGN_REQUEST) {
      const keyLength = message.readUInt32BE(1);
      const data = message.subarray(9 + keyLength, 9 + keyLength + message.readUInt32BE(5 + keyLength));
      return Buffer.concat([Buffer.from([SIGN_RESPONSE]), sshString(signatureBlob(sign(null, data, key.privateKey)))]);
    }
    return Buffer.from([FAILURE]);
  };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fresh = `${path}.${process.pid}`;
  await new Promise<void>((done, fail) => server.once("error", fail).listen(fresh, done));
  chmodSync(fresh, 0o600);
  renameSync(fresh, path);
  const inode = statSync(path).ino;
  return {
    close(): void {
      server.close();
      if (statSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true });
    },
  };
}
