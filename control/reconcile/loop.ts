/**
 * The loop: observe -> diff -> plan -> act -> verify. A pass takes no input: whatever woke it is only a hint,
 * and it reads desired and observed anew; a periodic full pass finds lost hints. Verify is the next pass
 * planning nothing.
 */
import type { ApplyRequest, Desired, DesiredVolume } from "#contract/wire/agent.ts";
import { MachineSpec } from "#contract/resources/machine.ts";
import { toHyperlaneError } from "#contract/errors.ts";
import type { Store } from "#control/store/store.ts";
import type { StoredMachine, StoredVolume } from "#control/model/state.ts";
import { plan } from "./plan.ts";
import { arrivalKey, isArrival, RESEND_MS, type Action } from "./plan-facts.ts";

export type Agents = {
  apply(node: string, request: ApplyRequest): Promise<void>;
  /** Long work on images, once at a time for each: sending one to a node, making one of a machine. */
  moveImage(action: ImageAction): void;
  orphans(): { node: string; machine: string }[];
};
export type ImageAction = Extract<Action, { kind: "sendImage" | "commit" }>;
export type Clock = { now(): number; after(ms: number, run: () => void): () => void };
type Deps = {
  store: Store;
  agents: Agents;
  clock: Clock;
  /** For this node, which may be one that it only comes to. */
  desired(machine: StoredMachine, node: string): Desired;
  desiredVolume(volume: StoredVolume): DesiredVolume;
  log(line: string): void;
};

/** Longest time between passes, and the shortest: one request is planned at once, a burst together. */
const PERIOD_MS = 5_000;
const SETTLE_MS = 5;
/** After a failed write: a full disk is not asked a hundred times a second. */
const WRITE_PAUSE_MS = 1_000;

export function createLoop({ store, agents, clock, desired, desiredVolume, log }: Deps) {
  const sent = new Map<string, { revision: number; at: number }>();
  let cancel: (() => void) | undefined;
  let due = Infinity;
  let stopped = false;
  let [pausedUntil, lastPass] = [0, -Infinity];

  const schedule = (ms: number): void => {
    const at = Math.max(clock.now() + ms, pausedUntil);
    if (stopped || at >= due) return;
    cancel?.();
    due = at;
    cancel = clock.after(Math.max(0, at - clock.now()), pass);
  };

  function pass(): void {
    due = Infinity;
    lastPass = clock.now();
    if (stopped || store.dead) return;
    try {
      const commands = settleFacts();
      dispatch(commands);
    } catch (thrown) {
      log(`reconcile: ${toHyperlaneError(thrown).stack ?? String(thrown)}`);
    }
    schedule(nextWake());
  }

  /** Appends facts until none follow from the last; what is left are commands. */
  function settleFacts(): Action[] {
    for (let round = 0; round < 20; round++) {
      const actions = plan({ state: store.state, now: clock.now(), orphans: agents.orphans(), sent });
      const facts = actions.flatMap((a) => (a.kind === "append" ? [a.event] : []));
      if (!facts.length) return actions;
      store.append(facts).catch((e) => {
        // What could not be written follows again from the next look.
        pausedUntil = clock.now() + WRITE_PAUSE_MS;
        log(`reconcile: ${toHyperlaneError(e).message}`);
      });
    }
    log("reconcile: facts kept following from facts for 20 rounds");
    return [];
  }

  function dispatch(actions: Action[]): void {
    const byNode = new Map<string, ApplyRequest>();
    for (const action of actions) {
      if (action.kind === "append") continue;
      if (action.kind === "sendImage" || action.kind === "commit") {
        agents.moveImage(action);
        continue;
      }
      const batch = byNode.get(action.node) ?? { machines: [], volumes: [], removeImages: [] };
      byNode.set(action.node, batch);
      if (action.kind === "removeImage") batch.removeImages.push(action.rootfs);
      else if (action.kind === "remove") batch.machines.push(absent(action.machine, store.lastSeq));
      else if (action.kind === "applyVolume") {
        batch.volumes.push(desiredVolume(store.state.volume.get(action.volume)!));
        sent.set(action.volume, { revision: action.revision, at: clock.now() });
      } else {
        const machine = store.state.machine.get(action.machine)!;
        batch.machines.push(desired(machine, action.node));
        const key = action.node === machine.node ? machine.id : arrivalKey(machine.id);
        sent.set(key, { revision: action.revision, at: clock.now() });
      }
    }
    // Nothing is told to act before it is durable why.
    for (const [node, batch] of byNode)
      store
        .settled()
        .then(() => agents.apply(node, batch))
        .catch((e) => {
          log(`apply to ${node}: ${toHyperlaneError(e).message}`);
          for (const { id } of [...batch.machines, ...batch.volumes]) (sent.delete(id), sent.delete(arrivalKey(id)));
        });
  }

  function nextWake(): number {
    let wake = PERIOD_MS;
    const now = clock.now();
    for (const m of store.state.machine.values()) if (m.retryAt !== null) wake = Math.min(wake, Math.max(SETTLE_MS, m.retryAt - now));
    for (const [id, s] of sent) {
      const m = store.state.machine.get(id) ?? store.state.volume.get(id);
      if (isArrival(id) && now - s.at < RESEND_MS) wake = Math.min(wake, Math.max(SETTLE_MS, s.at + RESEND_MS - now));
      else if (!m || (m.observed && m.observed.revision >= s.revision)) sent.delete(id);
      else wake = Math.min(wake, Math.max(SETTLE_MS, s.at + RESEND_MS - now));
    }
    return wake;
  }

  return {
    wake: () => schedule(Math.max(0, lastPass + SETTLE_MS - clock.now())),
    stop() {
      stopped = true;
      cancel?.();
    },
  };
}

/** The document that removes a machine nobody knows. */
function absent(id: string, revision: number): Desired {
  return {
    id,
    name: "orphan",
    revision,
    epoch: 0,
    power: "absent",
    spec: MachineSpec.parse({}),
    rootfs: "0".repeat(64),
    workload: { kind: "system", init: "" },
    slot: 0,
    exposures: [],
    snapshots: [],
    withMemory: [],
    restore: null,
    source: null,
    sleep: { n: 0, wish: "awake", force: false, wakeAt: null },
    move: null,
    mounts: [],
    networks: [],
    identity: null,
  };
}
