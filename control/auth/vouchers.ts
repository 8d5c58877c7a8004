/** What vouches for others here, in a form to compare with what others show. */
import { createHash, X509Certificate } from "node:crypto";
import type { Certificate } from "#contract/resources/other.ts";
import type { SshCa } from "./ssh.ts";

/** ca, identity: PEM. */
export function certificatesOf(ssh: Pick<SshCa, "userCa" | "hostCa">, ca: string, identity: string): Certificate[] {
  return [
    { ...sshKey(ssh.userCa), name: "ssh-users", summary: "Signs those who log in; each for one machine and five minutes" },
    { ...sshKey(ssh.hostCa), name: "ssh-hosts", summary: "Signs the host key of every machine, anew at each start" },
    { ...x509(ca), name: "nodes", summary: "Signs nodes and this control plane, which accept nobody else" },
    { ...x509(identity), name: "control", summary: "This control plane, as nodes know it" },
  ];
}

/** As `ssh-keygen -l` prints it. */
function sshKey(line: string): Pick<Certificate, "kind" | "fingerprint" | "expiresAt"> {
  const digest = createHash("sha256")
    .update(Buffer.from(line.split(" ")[1]!, "base64"))
    .digest("base64");
  return { kind: "ssh", fingerprint: `SHA256:${digest.replace(/=+$/, "")}`, expiresAt: null };
}

function x509(pem: string): Pick<Certificate, "kind" | "fingerprint" | "expiresAt"> {
  const certificate = new X509Certificate(pem);
  return { kind: "x509", fingerprint: certificate.fingerprint256, expiresAt: Date.parse(certificate.validTo) };
}
