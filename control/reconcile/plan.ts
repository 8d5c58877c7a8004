/**
 * The planner: desired and observed in, actions out. Pure, total, and idempotent: planning again after the
 * actions took effect gives none. Facts (append) come before commands (apply), which are levels and not edges.
 */
import type { Observed } from "#contract/resources/machine.ts";
import { restartsAfter, restartsMost } from "#contract/resources/restart.ts";
import { rootfsFor } from "#contract/wire/agent.ts";
import { place, reserve, usageByNode, type Usage } from "#control/schedule/place.ts";
import { hasEnded } from "#control/model/machine.ts";
import type { NewEvent, State, StoredMachine } from "#control/model/state.ts";
import { fact, mustHear, snapshots, type Action, type World } from "./plan-facts.ts";
import { planMigration } from "./plan-migration.ts";
import { nodesOfVolumes, planVolumes } from "./plan-volumes.ts";

export const MAX_ATTEMPTS = 5;
/** A machine that removes itself is there a little longer, for whoever still reads what it printed. */
const REMOVE_AFTER_MS = 10_000;

export function backoffMs(attempt: number): number {
  return Math.min(1000 * 2 ** (attempt - 1), 60_000);
}

export function plan(world: World): Action[] {
  const actions: Action[] = [];
  let usage: Map<string, Usage> | undefined;
  const placedVolumes = new Map<string, string>();
  for (const m of world.state.machine.values()) {
    const event = m.node === null && !m.destroying ? undefined : next(m, world.now);
    if (event) actions.push({ kind: "append", event });
    else if (m.node === null) {
      usage ??= usageByNode(world.state.machine.values(), world.state.volume.values());
      for (const fact of placement(m, world, usage, placedVolumes)) actions.push({ kind: "append", event: fact });
    }
    if (world.state.snapshotsOf.has(m.id)) actions.push(...snapshots(m, world.state));
    if (m.node !== null && mustHear(m, m.node, world)) actions.push({ kind: "apply", node: m.node, machine: m.id, revision: m.revision });
    if (m.migration) actions.push(...planMigration(m, world));
  }
  actions.push(...planVolumes(world));
  for (const orphan of world.orphans)
    if (!isOf(world.state.machine.get(orphan.machine), orphan.node)) actions.push({ kind: "remove", ...orphan });
  actions.push(...images(world.state));
  return actions;
}

/** Of a machine, and with it of those of its volumes that are nowhere yet. placed: volumes, by id. */
function placement(m: StoredMachine, world: World, usage: Map<string, Usage>, placed: Map<string, string>): NewEvent[] {
  const volumes = nodesOfVolumes(m, world.state, placed);
  const at = new Set([...volumes.values()].filter((node) => node !== null));
  const source = m.source && world.state.machine.get(m.source.machine)?.node;
  if (source) at.add(source);
  const nodes = [...world.state.node.values()].filter((n) => !at.size || at.has(n.id));
  const apart = source ? "The snapshot and its volumes are on different nodes." : "Its volumes are on different nodes.";
  const found = at.size > 1 ? { reason: apart } : place(m.spec, nodes, usage);
  if ("reason" in found) return m.reason === found.reason ? [] : [fact("v1.MachineUnplaceable", m.id, found)];
  reserve(usage, found.node, m.spec, found.slot);
  const events = [fact("v1.MachinePlaced", m.id, found)];
  for (const [volume, node] of volumes) {
    if (node !== null) continue;
    placed.set(volume, found.node);
    events.push(fact("v1.VolumePlaced", volume, { node: found.node }));
  }
  return events;
}

/** The fact that follows from what was last observed, if any. */
function next(m: StoredMachine, now: number): NewEvent | undefined {
  const seen = m.observed;
  if (m.destroying && (m.node === null || (seen?.phase === "absent" && seen.revision >= m.revision)))
    return fact("v1.MachineDestroyed", m.id, {});
  if (m.retryAt !== null) return now >= m.retryAt ? fact("v1.MachineRetried", m.id, { epoch: m.epoch + 1 }) : undefined;
  if (!seen || seen.epoch !== m.epoch || seen.revision < m.revision || m.state === "failed") return undefined;
  if (m.destroying) return seen.phase === "failed" ? retry(m, now, seen) : undefined;
  if (m.power === "stopped") {
    if (seen.phase === "failed") return giveUpOrRetry(m, now, seen);
    const over = seen.phase === "stopped" || seen.phase === "exited";
    return over && m.spec.autoRemove && now >= m.updatedAt + REMOVE_AFTER_MS ? fact("v1.MachineDestroyRequested", m.id, {}) : undefined;
  }
  if (seen.phase === "exited" && hasEnded(seen, m.spec.restart)) {
    if (startsAgain(m, seen)) return retry(m, now, seen);
    return m.spec.autoRemove && now >= m.updatedAt + REMOVE_AFTER_MS ? fact("v1.MachineDestroyRequested", m.id, {}) : undefined;
  }
  if (seen.phase === "exited" && seen.exit === "host-rebooted") return fact("v1.MachineRetried", m.id, { epoch: m.epoch + 1 });
  if (seen.phase === "failed" || seen.phase === "exited") return giveUpOrRetry(m, now, seen);
  return undefined;
}

/** For what came to an end by itself. */
function startsAgain({ spec, attempt }: StoredMachine, seen: Observed): boolean {
  return restartsAfter(spec.restart, seen) && attempt < (restartsMost(spec.restart) ?? Infinity);
}

function retry(m: StoredMachine, now: number, seen: Observed): NewEvent {
  const attempt = m.attempt + 1;
  return fact("v1.MachineRetryScheduled", m.id, { attempt, at: now + backoffMs(attempt), reason: seen.reason ?? "it ended" });
}

/** What broke is tried again a few times, unless it never is. */
function giveUpOrRetry(m: StoredMachine, now: number, seen: Observed): NewEvent {
  const most = restartsMost(m.spec.restart) ?? MAX_ATTEMPTS - 1;
  if (m.spec.restart !== "no" && m.attempt < Math.min(most, MAX_ATTEMPTS - 1)) return retry(m, now, seen);
  const times = m.attempt === 0 ? "" : ` (after ${m.attempt + 1} attempts)`;
  return fact("v1.MachineFailed", m.id, { reason: `${seen.reason ?? "it ended"}${times}` });
}

function isOf(m: StoredMachine | undefined, node: string): boolean {
  return m !== undefined && (m.node === node || m.migration?.to === node);
}

/** What a node needs is sent to it, what nobody needs any more is removed there. */
function images(state: State): Action[] {
  const actions: Action[] = [];
  const used = new Set([...state.image.values()].flatMap((i) => (i.rootfs === null ? [] : [i.rootfs, rootfsFor(i.rootfs, "docker")])));
  const needed = new Map<string, Map<string, string>>();
  for (const m of state.machine.values()) {
    if (!m.image) continue;
    const rootfs = rootfsFor(m.image.rootfs, m.spec.runtime);
    used.add(rootfs);
    for (const node of m.destroying ? [] : [m.node, m.migration?.to]) {
      if (node == null) continue;
      if (!needed.has(node)) needed.set(node, new Map());
      needed.get(node)!.set(rootfs, m.image.digest);
    }
  }
  for (const node of state.node.values()) {
    if (!node.connected || !node.status) continue;
    const there = new Set(node.status.images.map((i) => i.rootfs));
    for (const [rootfs, digest] of needed.get(node.id) ?? [])
      if (!there.has(rootfs)) actions.push({ kind: "sendImage", node: node.id, rootfs, digest });
    for (const rootfs of there) if (!used.has(rootfs)) actions.push({ kind: "removeImage", node: node.id, rootfs });
  }
  for (const image of state.image.values()) {
    if (image.state !== "creating") continue;
    const machine = state.machine.get(image.from ?? "");
    if (!machine || machine.destroying)
      actions.push({ kind: "append", event: fact("v1.ImageFailed", image.id, { reason: "the machine it was to be made from is gone" }) });
    else if (machine.node !== null && state.node.get(machine.node)?.connected)
      actions.push({ kind: "commit", node: machine.node, machine: machine.id, image: image.id });
  }
  return actions;
}
