/** hyperlane, the control plane: its composition root. DIR holds hyperlane.db and control.json, both made by init. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Desired } from "#contract/wire/agent.ts";
import { createConnections } from "#control/agents/connections.ts";
import { ingest } from "#control/agents/ingest.ts";
import { startServer } from "#control/api/server.ts";
import { createSshCa, type SshCa } from "#control/auth/ssh.ts";
import { newId } from "#control/auth/tokens.ts";
import type { State, StoredMachine } from "#control/model/state.ts";
import { createLoop } from "#control/reconcile/loop.ts";
import { openStore } from "#control/store/store.ts";

const Pem = z.object({ key: z.string(), cert: z.string() });
export const ControlConfig = z.object({ hostname: z.string(), port: z.int(), ca: Pem, identity: Pem, ssh: z.object({ user: z.string(), host: z.string() }) });
export type ControlConfig = z.infer<typeof ControlConfig>;

const ANSWERS_KEPT_MS = 24 * 3600 * 1000;
const HOUSEKEEPING_MS = 3600 * 1000;

export async function runControl(dir: string, version: string, log: (line: string) => void): Promise<{ port: number; close(): void }> {
  const config = readConfig(dir);
  const store = openStore(`${dir}/hyperlane.db`, Date.now);
  const ssh = createSshCa(config.ssh, Date.now);
  // By node, so that a full report replaces what was known of it.
  const orphans = new Map<string, string[]>();
  const append = (events: Parameters<typeof store.append>[0]): void => {
    if (events.length) store.append(events).then(() => loop.wake(), (e) => fatal(e));
    else loop.wake();
  };
  const fatal = (error: unknown): void => {
    log(`fatal: ${toHyperlaneError(error).message}`);
    process.exit(1);
  };
  const connections = createConnections({
    ca: config.ca.cert,
    identity: config.identity,
    log,
    onObservation(node, observation) {
      const found = ingest(store.state, node, observation);
      if (observation.full) orphans.set(node, found.orphans);
      else if (found.orphans.length) orphans.set(node, [...new Set([...(orphans.get(node) ?? []), ...found.orphans])]);
      append(found.events);
    },
    onLost(node, reason) {
      if (store.state.node.get(node)?.connected) append([{ type: "v1.NodeLost", subject: node, actor: "reconcile", data: { reason } }]);
    },
  });
  const loop = createLoop({
    store,
    log,
    clock: { now: Date.now, after: (ms, run) => { const t = setTimeout(run, ms); return () => clearTimeout(t); } },
    desired: (machine) => desiredOf(store.state, machine, ssh),
    agents: { apply: (node, machines, images) => connections.apply(node, machines, images), orphans: () => [...orphans].flatMap(([node, ids]) => ids.map((machine) => ({ node, machine }))) },
  });
  store.subscribe(() => loop.wake());
  // Nothing that was connected before this start is known to be so now.
  await store.append([...store.state.node.values()].filter((n) => n.connected).map((n) => ({ type: "v1.NodeLost" as const, subject: n.id, actor: "reconcile", data: { reason: "the control plane restarted" } })));
  const server = startServer({ store, ssh, connections, version, startedAt: Date.now(), now: Date.now, newId }, { hostname: config.hostname, port: config.port, log });
  for (const node of store.state.node.values()) connections.add(node);
  const housekeeping = setInterval(() => store.forgetAnswers(Date.now() - ANSWERS_KEPT_MS), HOUSEKEEPING_MS);
  log(`The control plane listens on http://${config.hostname}:${server.port}.`);
  return {
    port: server.port!,
    close(): void {
      clearInterval(housekeeping);
      loop.stop();
      connections.close();
      void server.stop(true);
      store.close();
    },
  };
}

/** The document for a machine's agent. The identity is made anew each time: keys are not kept. */
export function desiredOf(state: State, m: StoredMachine, ssh: Pick<SshCa, "hostIdentity">): Desired {
  const snapshots = [...(state.snapshotsOf.get(m.id) ?? [])].filter((id) => state.snapshot.get(id)!.state !== "removing");
  const images = [...state.image.values()].filter((i) => i.from === m.id && i.state === "creating").map((i) => ({ id: i.id, name: i.name }));
  return {
    id: m.id, name: m.name, revision: m.revision, epoch: m.epoch, power: m.destroying ? "absent" : m.state === "failed" ? "stopped" : m.power, spec: m.spec, slot: m.slot,
    exposures: m.exposures, snapshots, restore: m.restore, images, identity: m.destroying ? null : ssh.hostIdentity(m),
  };
}

function readConfig(dir: string): ControlConfig {
  let text;
  try {
    text = readFileSync(`${dir}/control.json`, "utf8");
  } catch (cause) {
    throw new HyperlaneError("NOT_FOUND", `There is no "${dir}/control.json": this host has no control plane yet.`, { hint: "Run `hyperlane init` first.", cause });
  }
  return ControlConfig.parse(JSON.parse(text));
}
