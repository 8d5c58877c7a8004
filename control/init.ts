/** `hyperlane init`: CAs, database, the first node and an admin token. Whatever is there already is kept. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { createCa, issueCertificate } from "#control/auth/pki.ts";
import { generateSshCaKeys } from "#control/auth/ssh.ts";
import { createSecret, findToken, newId } from "#control/auth/tokens.ts";
import type { NewEvent, State } from "#control/model/state.ts";
import { openStore } from "#control/store/store.ts";
import { ControlConfig } from "./main.ts";

/**
 * port: what the API listens on, the agent one above it; undefined: as before, or 7420. secret: the API token that the
 * caller has, if any.
 */
export type InitOptions = {
  dir: string;
  port?: number | undefined;
  nodeName: string;
  /** At which other nodes reach the agent of this host; undefined: as before, or nowhere. */
  agentHost?: string | undefined;
  secret?: string | undefined;
  jwtSecret?: string | undefined;
  maxDiskMib?: number | undefined;
  disableAuth?: boolean | undefined;
};
/** secret: a new admin token, where the caller had none that is good. tls: the node's identity, for the agent. */
export type InitResult = {
  url: string;
  node: string;
  agentAddress: string;
  secret: string | null;
  tls: { ca: string; key: string; cert: string };
};

const DEFAULT_PORT = 7420;
const HOST = "127.0.0.1";

export async function initControl({ dir, nodeName, agentHost, secret, ...settings }: InitOptions): Promise<InitResult> {
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  const config = await ensureConfig(`${dir}/control.json`, settings);
  const store = openStore(`${dir}/hyperlane.db`, Date.now);
  try {
    const known = [...store.state.node.values()].find((n) => n.name === nodeName);
    const host = agentHost ?? known?.address.replace(/:\d+$/, "") ?? HOST;
    const agentAddress = `${host}:${config.port + 1}`;
    const node = known?.id ?? newId("n");
    const events: NewEvent[] = [];
    if (known?.address !== agentAddress)
      events.push({ type: "v1.NodeEnrolled", subject: node, actor: "init", data: { name: nodeName, address: agentAddress } });
    const fresh = secret !== undefined && findToken(store.state, secret) ? null : createSecret();
    if (fresh)
      events.push({
        type: "v1.TokenCreated",
        subject: newId("t"),
        actor: "init",
        data: { name: freeName(store.state), role: "admin", hash: fresh.hash },
      });
    await store.append(events);
    return {
      url: `http://${HOST}:${config.port}`,
      node,
      agentAddress,
      secret: fresh?.secret ?? null,
      tls: { ca: config.ca.cert, ...(await issueCertificate(config.ca, node)) },
    };
  } finally {
    store.close();
  }
}

/** CAs and keys are made once, and never again: what they signed must stay good. */
async function ensureConfig(
  path: string,
  { port, jwtSecret, maxDiskMib, disableAuth }: Pick<InitOptions, "port" | "jwtSecret" | "maxDiskMib" | "disableAuth">,
): Promise<ControlConfig> {
  const before = existsSync(path) ? ControlConfig.parse(await Bun.file(path).json()) : undefined;
  const ca = before?.ca ?? (await createCa());
  const config: ControlConfig = {
    hostname: HOST,
    ca,
    identity: before?.identity ?? (await issueCertificate(ca, "control")),
    ssh: before?.ssh ?? generateSshCaKeys(),
    port: port ?? before?.port ?? DEFAULT_PORT,
    registries: before?.registries ?? { mirrors: {}, insecure: [] },
    jwtSecret: jwtSecret ?? before?.jwtSecret ?? null,
    disableAuth: disableAuth ?? before?.disableAuth ?? false,
    maxDiskMib: maxDiskMib ?? before?.maxDiskMib ?? null,
  };
  if (before && JSON.stringify(before) === JSON.stringify(config)) return before;
  writeFileSync(`${path}.new`, JSON.stringify(config), { mode: 0o600 });
  renameSync(`${path}.new`, path);
  return config;
}

/** Whoever is root here may always have an admin token: admin, admin-2, ... */
function freeName(state: State): string {
  const taken = new Set([...state.token.values()].map((t) => t.name));
  for (let n = 1; ; n++) {
    const name = n === 1 ? "admin" : `admin-${n}`;
    if (!taken.has(name)) return name;
  }
}
