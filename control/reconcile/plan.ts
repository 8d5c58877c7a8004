/**
 * The planner: desired and observed in, actions out. Pure, total, and idempotent: planning again after the
 * actions took effect gives none. Facts (append) come before commands (apply), which are levels and not edges.
 */
import type { Observed } from "#contract/resources/machine.ts";
import { place, reserve, usageByNode, type Usage } from "#control/schedule/place.ts";
import type { NewEvent, State, StoredMachine } from "#control/model/state.ts";

export type Action =
  | { kind: "append"; event: NewEvent }
  | { kind: "apply"; node: string; machine: string; revision: number }
  | { kind: "remove"; node: string; machine: string }
  | { kind: "removeImage"; node: string; image: string };

export type World = {
  state: State;
  now: number;
  /** Machines that a node holds and nobody wants there. */
  orphans: readonly { node: string; machine: string }[];
  /** When a document was last sent, by machine. */
  sent: ReadonlyMap<string, { revision: number; at: number }>;
};

export const MAX_ATTEMPTS = 5;
/** An agent that took a document says so in its next observation; without that it is sent again. */
export const RESEND_MS = 5_000;

export function backoffMs(attempt: number): number {
  return Math.min(1000 * 2 ** (attempt - 1), 60_000);
}

export function plan(world: World): Action[] {
  const actions: Action[] = [];
  let usage: Map<string, Usage> | undefined;
  for (const m of world.state.machine.values()) {
    const event = m.node === null && !m.destroying ? undefined : next(m, world.now);
    if (event) actions.push({ kind: "append", event });
    else if (m.node === null) {
      usage ??= usageByNode(world.state.machine.values());
      const placed = placement(m, world, usage);
      if (placed) actions.push({ kind: "append", event: placed });
    }
    if (world.state.snapshotsOf.has(m.id)) actions.push(...snapshots(m, world.state));
    if (mustHear(m, world)) actions.push({ kind: "apply", node: m.node!, machine: m.id, revision: m.revision });
  }
  for (const orphan of world.orphans)
    if (world.state.machine.get(orphan.machine)?.node !== orphan.node) actions.push({ kind: "remove", ...orphan });
  actions.push(...images(world.state));
  return actions;
}

function fact<T extends NewEvent["type"]>(type: T, subject: string, data: Extract<NewEvent, { type: T }>["data"]): NewEvent {
  return { type, subject, actor: "reconcile", data } as NewEvent;
}

function placement(m: StoredMachine, world: World, usage: Map<string, Usage>): NewEvent | undefined {
  const placed = place(m.spec, world.state.node.values(), usage);
  if ("reason" in placed) return m.reason === placed.reason ? undefined : fact("v1.MachineUnplaceable", m.id, placed);
  reserve(usage, placed.node, m.spec, placed.slot);
  return fact("v1.MachinePlaced", m.id, placed);
}

/** The fact that follows from what was last observed, if any. */
function next(m: StoredMachine, now: number): NewEvent | undefined {
  const seen = m.observed;
  if (m.destroying && (m.node === null || (seen?.phase === "absent" && seen.revision >= m.revision)))
    return fact("v1.MachineDestroyed", m.id, {});
  if (m.retryAt !== null) return now >= m.retryAt ? fact("v1.MachineRetried", m.id, { epoch: m.epoch + 1 }) : undefined;
  if (!seen || seen.epoch !== m.epoch || seen.revision < m.revision || m.state === "failed") return undefined;
  if (m.destroying) return seen.phase === "failed" ? retry(m, now, seen) : undefined;
  if (m.power === "stopped") return seen.phase === "failed" ? giveUpOrRetry(m, now, seen) : undefined;
  if (seen.phase === "exited" && seen.exit === "host-rebooted") return fact("v1.MachineRetried", m.id, { epoch: m.epoch + 1 });
  if (seen.phase === "exited" && seen.exit === "powered-off") return m.spec.restart === "always" ? retry(m, now, seen) : undefined;
  if (seen.phase === "failed" || seen.phase === "exited") return giveUpOrRetry(m, now, seen);
  return undefined;
}

function retry(m: StoredMachine, now: number, seen: Observed): NewEvent {
  const attempt = m.attempt + 1;
  return fact("v1.MachineRetryScheduled", m.id, { attempt, at: now + backoffMs(attempt), reason: seen.reason ?? "it ended" });
}

function giveUpOrRetry(m: StoredMachine, now: number, seen: Observed): NewEvent {
  if (m.spec.restart !== "never" && m.attempt < MAX_ATTEMPTS - 1) return retry(m, now, seen);
  const times = m.attempt === 0 ? "" : ` (after ${m.attempt + 1} attempts)`;
  return fact("v1.MachineFailed", m.id, { reason: `${seen.reason ?? "it ended"}${times}` });
}

function mustHear(m: StoredMachine, world: World): boolean {
  if (m.node === null || !world.state.node.get(m.node)?.connected) return false;
  if (m.observed && m.observed.revision >= m.revision) return false;
  const sent = world.sent.get(m.id);
  return !sent || sent.revision < m.revision || world.now - sent.at >= RESEND_MS;
}

function snapshots(m: StoredMachine, state: State): Action[] {
  const actions: Action[] = [];
  for (const id of state.snapshotsOf.get(m.id)!) {
    const snapshot = state.snapshot.get(id)!;
    const seen = m.observed?.snapshots[id];
    if (snapshot.state === "creating" && seen) actions.push({ kind: "append", event: fact("v1.SnapshotObserved", id, seen) });
    const gone = !seen && (m.node === null || (m.observed !== null && m.observed.revision >= m.revision));
    if (snapshot.state === "removing" && gone) actions.push({ kind: "append", event: fact("v1.SnapshotRemoved", id, {}) });
  }
  return actions;
}

/** Images follow from what their node reports: made ones under their id, others under their digest. */
function images(state: State): Action[] {
  const actions: Action[] = [];
  const names = new Set<string>();
  for (const image of state.image.values()) {
    names.add(`${image.node} ${image.name}`);
    const status = image.node === null ? null : state.node.get(image.node)?.status;
    const there = status?.images.find((i) => i.name === image.name);
    const made = image.from === null ? undefined : state.machine.get(image.from)?.observed?.images[image.id];
    const become = (state: "ready" | "failed", digest: string, bytes: number, reason: string | null): void =>
      void actions.push({
        kind: "append",
        event: fact("v1.ImageObserved", image.id, { name: image.name, node: image.node!, state, digest, bytes, reason }),
      });
    if (image.state === "creating") {
      if (made?.state === "failed") become("failed", "", 0, made.reason);
      else if (there) become("ready", there.digest, there.bytes, null);
      else if (!state.machine.has(image.from ?? "")) become("failed", "", 0, "the machine it was to be made from is gone");
    }
    if (image.state === "removing" && status)
      actions.push(
        there
          ? { kind: "removeImage", node: image.node!, image: image.name }
          : { kind: "append", event: fact("v1.ImageRemoved", image.id, {}) },
      );
  }
  for (const node of state.node.values())
    for (const seen of node.status?.images ?? [])
      if (!names.has(`${node.id} ${seen.name}`))
        actions.push({
          kind: "append",
          event: fact("v1.ImageObserved", `i-${seen.digest.slice(0, 12)}-${node.id}`, {
            ...seen,
            node: node.id,
            state: "ready",
            reason: null,
          }),
        });
  return actions;
}
