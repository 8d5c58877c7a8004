/** What the parts of the planner share: its words, and what holds for machines and volumes alike. Pure. */
import type { Observed } from "#contract/resources/machine.ts";
import type { NewEvent, State } from "#control/model/state.ts";

export type Action =
  | { kind: "append"; event: NewEvent }
  | { kind: "apply"; node: string; machine: string; revision: number }
  | { kind: "applyVolume"; node: string; volume: string; revision: number }
  | { kind: "remove"; node: string; machine: string }
  | { kind: "removeImage"; node: string; rootfs: string }
  | { kind: "sendImage"; node: string; rootfs: string; digest: string }
  | { kind: "commit"; node: string; machine: string; image: string };

export type World = {
  state: State;
  now: number;
  /** Machines that a node holds and nobody wants there. */
  orphans: readonly { node: string; machine: string }[];
  /** When a document was last sent, by machine or volume. */
  sent: ReadonlyMap<string, { revision: number; at: number }>;
};

/** An agent that took a document says so in its next observation; without that it is sent again. */
export const RESEND_MS = 5_000;

export function fact<T extends NewEvent["type"]>(type: T, subject: string, data: Extract<NewEvent, { type: T }>["data"]): NewEvent {
  return { type, subject, actor: "reconcile", data } as NewEvent;
}

/** Under which what was sent to the node that a machine comes to is remembered. */
export function arrivalKey(id: string): string {
  return `${id}>`;
}
export function isArrival(key: string): boolean {
  return key.endsWith(">");
}

/** A machine or a volume, by what its node has last said of it. */
type Owner = { id: string; node: string | null; revision: number; observed: Pick<Observed, "revision" | "snapshots"> | null };

export function mustHear(o: Owner, node: string, world: World): boolean {
  if (!world.state.node.get(node)?.connected) return false;
  if (o.observed && o.observed.revision >= o.revision) return false;
  const sent = world.sent.get(o.id);
  return !sent || sent.revision < o.revision || world.now - sent.at >= RESEND_MS;
}

export function snapshots(o: Owner, state: State): Action[] {
  const actions: Action[] = [];
  for (const id of state.snapshotsOf.get(o.id)!) {
    const snapshot = state.snapshot.get(id)!;
    const seen = o.observed?.snapshots[id];
    if (snapshot.state === "creating" && seen) actions.push({ kind: "append", event: fact("v1.SnapshotObserved", id, seen) });
    const gone = !seen && (o.node === null || (o.observed !== null && o.observed.revision >= o.revision));
    if (snapshot.state === "removing" && gone) actions.push({ kind: "append", event: fact("v1.SnapshotRemoved", id, {}) });
  }
  return actions;
}
