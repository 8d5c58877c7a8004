/** hyperlane, the control plane: its composition root. DIR holds hyperlane.db and control.json, both made by init. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { encodeTicket, type JoinTicket } from "#contract/wire/ticket.ts";
import { createConnections } from "#control/agents/connections.ts";
import { hyperfleet } from "#control/dialects/hyperfleet.ts";
import { startServer } from "#control/api/server.ts";
import { endedSessions } from "#control/api/sessions.ts";
import { createSite } from "#control/api/site.ts";
import { createLinks } from "#control/auth/links.ts";
import { createSshCa } from "#control/auth/ssh.ts";
import { issueCertificate } from "#control/auth/pki.ts";
import { newId } from "#control/auth/tokens.ts";
import { certificatesOf } from "#control/auth/vouchers.ts";
import { createMover } from "#control/images/mover.ts";
import { openBlobs } from "#oci/blobs.ts";
import type { Clock } from "#control/reconcile/loop.ts";
import { openStore } from "#control/store/store.ts";
import { startCore } from "./core.ts";

const Pem = z.object({ key: z.string(), cert: z.string() });
export const ControlConfig = z.object({
  hostname: z.string(),
  port: z.int(),
  ca: Pem,
  identity: Pem,
  ssh: z.object({ user: z.string(), host: z.string() }),
  /** Registries: mirrors by name, and those that may be spoken to without TLS. */
  registries: z
    .object({ mirrors: z.record(z.string(), z.array(z.string())), insecure: z.array(z.string()) })
    .default({ mirrors: {}, insecure: [] }),
  /** JSON Web Tokens signed with it are taken; null: none are. */
  jwtSecret: z.string().nullable().default(null),
  /** Hyperfleet's API asks for no token. */
  disableAuth: z.boolean().default(false),
  /** The largest disk that a machine may ask for; null: any. */
  maxDiskMib: z.int().nullable().default(null),
});
export type ControlConfig = z.infer<typeof ControlConfig>;

const ANSWERS_KEPT_MS = 24 * 3600 * 1000;
const HOUSEKEEPING_MS = 3600 * 1000;

export const wallClock: Clock = {
  now: Date.now,
  after: (ms, run) => {
    const t = setTimeout(run, ms);
    return () => clearTimeout(t);
  },
};

/** webDir: where the files of the web UI are. */
export async function runControl(
  dir: string,
  { version, webDir, log }: { version: string; webDir: string; log(line: string): void },
): Promise<{ port: number; close(): void }> {
  const config = readConfig(dir);
  const store = openStore(`${dir}/hyperlane.db`, Date.now);
  const ssh = createSshCa(config.ssh, Date.now);
  const core = startCore({
    store,
    log,
    identityOf: (machine) => ssh.hostIdentity(machine),
    clock: wallClock,
    apply: (node, request) => connections.apply(node, request),
    moveImage: (action) => images.moveImage(action),
  });
  const images = createMover({
    blobs: openBlobs(`${dir}/registry`),
    state: () => store.state,
    append: (events) => store.append(events),
    newId,
    agents: {
      putImage: (node, head, blobs) => connections.putImage(node, head, blobs),
      commit: (node, machine) => connections.commit(node, machine),
    },
    registries: config.registries,
    log,
  });
  const connections = createConnections({ ca: config.ca.cert, identity: config.identity, log, session: core.session });
  const deps = {
    store,
    ssh,
    connections,
    images,
    links: createLinks(Date.now),
    enrol: async (node: string, { address }: { address: string }) => {
      const joins: JoinTicket = { node, address, tls: { ca: config.ca.cert, ...(await issueCertificate(config.ca, node)) } };
      return encodeTicket(joins);
    },
    certificates: certificatesOf(ssh, config.ca.cert, config.identity.cert),
    jwtSecret: config.jwtSecret,
    maxDiskMib: config.maxDiskMib,
    version,
    startedAt: Date.now(),
    now: Date.now,
    newId,
  };
  const dialects = [hyperfleet(deps, { open: config.disableAuth, log })];
  const server = startServer(deps, { hostname: config.hostname, port: config.port, dialects, site: createSite(webDir), log });
  for (const node of store.state.node.values()) connections.add(node);
  const housekeeping = setInterval(() => {
    try {
      store.forgetAnswers(Date.now() - ANSWERS_KEPT_MS);
      const ended = endedSessions(store.state, Date.now());
      store.append(ended.map((subject) => ({ type: "v1.SessionClosed", subject, actor: "reconcile", data: {} }))).catch(() => {});
      images.collectSoon();
    } catch (thrown) {
      log(`housekeeping: ${toHyperlaneError(thrown).message}`);
    }
  }, HOUSEKEEPING_MS);
  log(`The control plane listens on http://${config.hostname}:${server.port}.`);
  return {
    port: server.port!,
    close(): void {
      clearInterval(housekeeping);
      core.stop();
      images.close();
      connections.close();
      void server.stop(true);
      store.close();
    },
  };
}

export function readConfig(dir: string): ControlConfig {
  let text;
  try {
    text = readFileSync(`${dir}/control.json`, "utf8");
  } catch (cause) {
    throw new HyperlaneError("NOT_FOUND", `There is no "${dir}/control.json": this host has no control plane yet.`, {
      hint: "Run `hyperlane init` first.",
      cause,
    });
  }
  return ControlConfig.parse(JSON.parse(text));
}
