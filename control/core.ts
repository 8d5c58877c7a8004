/**
 * The control plane without its doors: what agents report goes into the log, and the loop answers with documents.
 * The process wires it to gRPC and the wall clock, the simulation to a faulty network and a virtual one.
 */
import { invariant, toHyperlaneError } from "#contract/errors.ts";
import { workloadOf } from "#contract/resources/workload.ts";
import { DEFAULT_NETWORK, DEFAULT_NUMBER } from "#contract/resources/network.ts";
import { rootfsFor, type ApplyRequest, type Desired, type DesiredVolume, type Observation } from "#contract/wire/agent.ts";
import type { SshCa } from "#control/auth/ssh.ts";
import { ingest } from "#control/agents/ingest.ts";
import type { NewEvent, State, StoredMachine, StoredVolume } from "#control/model/state.ts";
import { createLoop, type Agents, type Clock } from "#control/reconcile/loop.ts";
import type { Store } from "#control/store/store.ts";

export type Session = { observe(observation: Observation): void; lost(reason: string): void };
export type Core = ReturnType<typeof startCore>;
type Deps = {
  store: Store;
  clock: Clock;
  identityOf: SshCa["hostIdentity"];
  apply(node: string, request: ApplyRequest): Promise<void>;
  moveImage: Agents["moveImage"];
  log(line: string): void;
};

export function startCore({ store, clock, identityOf, apply, moveImage, log }: Deps) {
  // By node, so that a full report replaces what was known of it.
  const orphans = new Map<string, string[]>();
  const sessions = new Map<string, Session>();
  const loop = createLoop({
    store,
    clock,
    log,
    desiredVolume: (volume) => desiredVolumeOf(store.state, volume),
    desired: (machine, node) => desiredOf(store.state, machine, identityOf, node),
    agents: { apply, moveImage, orphans: () => [...orphans].flatMap(([node, ids]) => ids.map((machine) => ({ node, machine }))) },
  });
  const append = (events: NewEvent[]): void => {
    // What could not be written is reported again with the next full report.
    if (events.length) store.append(events).catch((e) => log(`observe: ${toHyperlaneError(e).message}`));
    loop.wake();
  };
  const orphan = (node: string, machine: string): void => void orphans.set(node, [...new Set([...(orphans.get(node) ?? []), machine])]);
  const unsubscribe = store.subscribe((events) => {
    // Where it no longer is, it is not waited for until that node next says what it has.
    for (const { type, subject, data } of events) {
      if (type === "v1.MachineMigrated") orphan(data.from, subject);
      const to = type === "v1.MachineMigrationEnded" && store.state.machine.get(subject)?.moved?.to;
      if (to) orphan(to, subject);
    }
    loop.wake();
  });
  // Nothing that was connected before this start is known to be so now.
  append(
    [...store.state.node.values()]
      .filter((n) => n.connected)
      .map((n) => ({ type: "v1.NodeLost" as const, subject: n.id, actor: "reconcile", data: { reason: "the control plane restarted" } })),
  );
  return {
    /** A connection to a node. It replaces the one before; what that one still says is not heard. */
    session(node: string): Session {
      let last = 0;
      const session: Session = {
        observe(observation) {
          if (sessions.get(node) !== session || observation.sequence <= last) return;
          last = observation.sequence;
          const found = ingest(store.state, node, observation);
          if (observation.full) orphans.set(node, found.orphans);
          else for (const machine of found.orphans) orphan(node, machine);
          append(found.events);
        },
        lost(reason) {
          if (sessions.get(node) !== session) return;
          sessions.delete(node);
          if (store.state.node.get(node)?.connected) append([{ type: "v1.NodeLost", subject: node, actor: "reconcile", data: { reason } }]);
        },
      };
      sessions.set(node, session);
      return session;
    },
    stop(): void {
      unsubscribe();
      loop.stop();
    },
  };
}

function snapshotsOf(state: State, id: string): string[] {
  return [...(state.snapshotsOf.get(id) ?? [])].filter((s) => state.snapshot.get(s)!.state !== "removing");
}

function desiredVolumeOf(state: State, v: StoredVolume): DesiredVolume {
  const { id, revision, made, sizeMib, restore } = v;
  return { id, revision, present: v.state !== "removing", made, sizeMib, snapshots: snapshotsOf(state, id), restore };
}

function moveOf(state: State, { migration, node: from }: StoredMachine, node: string | null): Desired["move"] {
  if (!migration) return null;
  const role = node === from ? "source" : "target";
  const peer = state.node.get(role === "source" ? migration.to : from!);
  return peer ? { n: migration.n, role, peer: { node: peer.id, address: peer.address } } : null;
}

/** The document for a machine's agent, or for that of a node which it comes to. The identity is made anew each time: keys are not kept. */
export function desiredOf(state: State, m: StoredMachine, identityOf: SshCa["hostIdentity"], node = m.node): Desired {
  const workload = workloadOf(m.name, m.spec, m.image);
  invariant(workload, `machine ${m.name} has nothing to run`);
  return {
    id: m.id,
    name: m.name,
    revision: m.revision,
    epoch: m.epoch,
    power: m.destroying ? "absent" : m.state === "failed" ? "stopped" : m.power,
    spec: m.spec,
    slot: node === m.node ? m.slot : m.migration!.slot,
    exposures: m.exposures,
    snapshots: snapshotsOf(state, m.id),
    withMemory: snapshotsOf(state, m.id).filter((s) => state.snapshot.get(s)!.memory),
    restore: m.restore,
    source: m.source,
    sleep: m.sleep,
    move: moveOf(state, m, node),
    mounts: m.spec.mounts.map((x) => ({ ...x, volume: x.volume === null ? null : (state.volumeNames.get(x.volume) ?? null) })),
    networks: m.spec.networks.flatMap(({ network, aliases }) => {
      if (network === DEFAULT_NETWORK) return [{ number: DEFAULT_NUMBER, internal: false, aliases }];
      const found = state.network.get(state.networkNames.get(network) ?? "");
      return found ? [{ number: found.number, internal: found.internal, aliases }] : [];
    }),
    rootfs: m.image && rootfsFor(m.image.rootfs, m.spec.runtime),
    workload,
    identity: m.destroying ? null : identityOf(m),
  };
}
