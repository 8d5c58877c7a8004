/** `hyperlane init`: CAs, database, the first node and an admin token. Whatever is there already is kept. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createCa, issueCertificate } from "#control/auth/pki.ts";
import { generateSshCaKeys } from "#control/auth/ssh.ts";
import { createSecret, newId } from "#control/auth/tokens.ts";
import { openStore } from "#control/store/store.ts";
import { ControlConfig } from "./main.ts";

export type InitOptions = { dir: string; port: number; agentAddress: string; nodeName: string };
/** secret: the admin token, only when this call made it. tls: the node's, likewise. */
export type InitResult = { node: string; secret: string | null; tls: { ca: string; key: string; cert: string } | null };

export async function initControl({ dir, port, agentAddress, nodeName }: InitOptions): Promise<InitResult> {
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  const path = `${dir}/control.json`;
  if (!existsSync(path)) {
    const ca = await createCa();
    const config: ControlConfig = {
      hostname: "127.0.0.1",
      port,
      ca,
      identity: await issueCertificate(ca, "control"),
      ssh: generateSshCaKeys(),
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600, flag: "wx" });
  }
  const { ca } = ControlConfig.parse(await Bun.file(path).json());
  const store = openStore(`${dir}/hyperlane.db`, Date.now);
  try {
    const known = [...store.state.node.values()].find((n) => n.name === nodeName);
    const node = known?.id ?? newId("n");
    if (!known)
      await store.append([{ type: "v1.NodeEnrolled", subject: node, actor: "init", data: { name: nodeName, address: agentAddress } }]);
    const admin = [...store.state.token.values()].some((t) => t.name === "admin");
    const fresh = admin ? null : createSecret();
    if (fresh)
      await store.append([
        { type: "v1.TokenCreated", subject: newId("t"), actor: "init", data: { name: "admin", role: "admin", hash: fresh.hash } },
      ]);
    return { node, secret: fresh?.secret ?? null, tls: { ca: ca.cert, ...(await issueCertificate(ca, node)) } };
  } finally {
    store.close();
  }
}
