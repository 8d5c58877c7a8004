/** Events of machines, and what they make of one. Only an observation makes a machine run. */
import { canBecome, type MachineState } from "#contract/resources/states.ts";
import type { Exposure, MachineSpec, MoveSeen, Observed, Power, Sleep } from "#contract/resources/machine.ts";
import type { MachineImage } from "#contract/resources/image.ts";
import type { Membership } from "#contract/resources/network.ts";
import type { Mount } from "#contract/resources/volume.ts";
import { invariant } from "#contract/errors.ts";
import { slim } from "./slim.ts";
import { forgetSnapshots } from "./snapshots-of.ts";
import type { Reducers, State, StoredMachine, Touched } from "./state.ts";

export type MachineEvents = {
  "v1.MachineRequested": Pick<StoredMachine, "name" | "labels" | "spec" | "image" | "exposures" | "source">;
  "v1.MachineSpecChanged": { spec: MachineSpec; labels: Record<string, string>; image: MachineImage | null };
  "v1.MachineRenamed": { name: string };
  /** A change of power, or (restart, retry by the user) a new epoch at the same power. */
  "v1.MachinePowerRequested": { power: Power; epoch: number };
  /** To standby; or that it wakes. */
  "v1.MachineStandbyRequested": { force: boolean; wakeAt: number | null };
  "v1.MachineWakeRequested": Record<string, never>;
  "v1.MachineSignalled": { signal: string };
  "v1.MachineExposed": Exposure;
  "v1.MachineUnexposed": { port: number };
  "v1.MachineMounted": Mount;
  "v1.MachineUnmounted": { volume: string };
  /** In place of what it was in that network before. */
  "v1.MachineJoined": Membership;
  "v1.MachineLeft": { network: string };
  "v1.MachineRestoreRequested": { snapshot: string; epoch: number };
  "v1.MachinePlaced": { node: string; slot: number };
  /** Why no node takes it; null once that no longer holds. */
  "v1.MachineUnplaceable": { reason: string };
  "v1.MachineObserved": { observed: Observed };
  /** A node that is to take it has a place for it from now on. */
  "v1.MachineMigrationRequested": { to: string; slot: number };
  /** What that node says of it. */
  "v1.MachineArriving": { seen: MoveSeen };
  /** From here on it is that node's, and only its. */
  "v1.MachineMigrated": { from: string };
  "v1.MachineMigrationEnded": { reason: string };
  "v1.MachineRetryScheduled": { attempt: number; at: number; reason: string };
  "v1.MachineRetried": { epoch: number };
  "v1.MachineFailed": { reason: string };
  "v1.MachineDestroyRequested": Record<string, never>;
  "v1.MachineDestroyed": Record<string, never>;
};

const AWAKE: Sleep = { n: 0, wish: "awake", force: false, wakeAt: null };

export const machineReducers: Reducers<MachineEvents> = {
  "v1.MachineRequested": (state, e) => {
    invariant(!state.names.has(e.data.name), `two machines named "${e.data.name}"`);
    state.names.set(e.data.name, e.subject);
    state.machine.set(e.subject, {
      id: e.subject,
      ...slim(state, e.data),
      power: "running",
      state: "requested",
      reason: null,
      node: null,
      slot: -1,
      epoch: 1,
      revision: e.seq,
      attempt: 0,
      retryAt: null,
      destroying: false,
      needsRestart: false,
      restore: null,
      sleep: AWAKE,
      migration: null,
      moved: null,
      observed: null,
      createdAt: e.at,
      updatedAt: e.at,
    });
    return [["machine", e.subject]];
  },
  "v1.MachineSpecChanged": (s, e) =>
    change(s, e, (m) => ({
      ...slim(s, e.data),
      revision: e.seq,
      needsRestart:
        m.needsRestart ||
        (isStarted(m) && JSON.stringify([atStart(m.spec), m.image]) !== JSON.stringify([atStart(e.data.spec), e.data.image])),
    })),
  "v1.MachineRenamed": (state, e) => {
    invariant(!state.names.has(e.data.name), `two machines named "${e.data.name}"`);
    state.names.delete(state.machine.get(e.subject)?.name ?? "");
    state.names.set(e.data.name, e.subject);
    return change(state, e, (m) => ({ ...e.data, revision: e.seq, needsRestart: m.needsRestart || isStarted(m) }));
  },
  "v1.MachinePowerRequested": (s, e) =>
    change(s, e, () => ({ ...e.data, revision: e.seq, reason: null, attempt: 0, retryAt: null, failed: false })),
  "v1.MachineStandbyRequested": (s, e) =>
    change(s, e, (m) => ({ sleep: { n: m.sleep.n + 1, wish: "standby", ...e.data }, revision: e.seq })),
  "v1.MachineWakeRequested": (s, e) =>
    change(s, e, (m) => ({ sleep: { n: m.sleep.n + 1, wish: "awake", force: false, wakeAt: null }, revision: e.seq })),
  "v1.MachineSignalled": () => [],
  "v1.MachineExposed": (s, e) =>
    change(s, e, (m) => ({
      exposures: [...m.exposures.filter((x) => x.port !== e.data.port || x.protocol !== e.data.protocol), e.data],
      revision: e.seq,
    })),
  "v1.MachineUnexposed": (s, e) => change(s, e, (m) => ({ exposures: m.exposures.filter((x) => x.port !== e.data.port), revision: e.seq })),
  "v1.MachineMounted": (s, e) => change(s, e, (m) => ({ spec: { ...m.spec, mounts: [...m.spec.mounts, e.data] }, revision: e.seq })),
  "v1.MachineUnmounted": (s, e) =>
    change(s, e, (m) => ({ spec: { ...m.spec, mounts: m.spec.mounts.filter((x) => x.volume !== e.data.volume) }, revision: e.seq })),
  "v1.MachineJoined": (s, e) =>
    change(s, e, (m) => ({
      spec: { ...m.spec, networks: [...m.spec.networks.filter((x) => x.network !== e.data.network), e.data] },
      revision: e.seq,
    })),
  "v1.MachineLeft": (s, e) =>
    change(s, e, (m) => ({ spec: { ...m.spec, networks: m.spec.networks.filter((x) => x.network !== e.data.network) }, revision: e.seq })),
  "v1.MachineRestoreRequested": (s, e) =>
    change(s, e, () => ({ restore: e.data, epoch: e.data.epoch, revision: e.seq, reason: null, attempt: 0, retryAt: null, failed: false })),
  "v1.MachinePlaced": (s, e) => change(s, e, () => ({ ...e.data, revision: e.seq, reason: null })),
  "v1.MachineUnplaceable": (s, e) => change(s, e, () => ({ reason: e.data.reason })),
  "v1.MachineObserved": (s, e) => change(s, e, (m) => observe(m, e.data.observed, e.at)),
  "v1.MachineMigrationRequested": (s, e) =>
    change(s, e, (m) => ({ migration: { ...e.data, n: e.seq, epoch: m.epoch, seen: null }, revision: e.seq })),
  "v1.MachineArriving": (s, e) => change(s, e, (m) => ({ migration: m.migration && { ...m.migration, seen: e.data.seen } })),
  "v1.MachineMigrated": (s, e) =>
    change(s, e, (m) => {
      invariant(m.migration, `machine ${m.name} has gone nowhere`);
      const { n, to, slot } = m.migration;
      // What was seen of it last holds until its new node says more.
      const observed = m.observed && { ...m.observed, revision: 0, move: null };
      return { node: to, slot, migration: null, moved: { n, to, reason: null }, observed, revision: e.seq };
    }),
  "v1.MachineMigrationEnded": (s, e) =>
    change(s, e, (m) => ({ migration: null, moved: m.migration && { n: m.migration.n, to: m.migration.to, ...e.data }, revision: e.seq })),
  "v1.MachineRetryScheduled": (s, e) => change(s, e, () => ({ attempt: e.data.attempt, retryAt: e.data.at, reason: e.data.reason })),
  "v1.MachineRetried": (s, e) => change(s, e, () => ({ epoch: e.data.epoch, revision: e.seq, retryAt: null })),
  "v1.MachineFailed": (s, e) => change(s, e, () => ({ reason: e.data.reason, retryAt: null, failed: true })),
  "v1.MachineDestroyRequested": (s, e) => change(s, e, () => ({ destroying: true, revision: e.seq })),
  "v1.MachineDestroyed": (state, e) => {
    const machine = state.machine.get(e.subject);
    invariant(machine, `destroyed a machine that is not there: ${e.subject}`);
    state.names.delete(machine.name);
    state.machine.delete(e.subject);
    return [["machine", e.subject], ...forgetSnapshots(state, e.subject)];
  },
};

/** After a good run of this length a crash counts as the first again. */
export const STABLE_MS = 60_000;

function observe(m: StoredMachine, observed: Observed, at: number): Partial<StoredMachine> {
  const up = observed.phase === "running" && observed.epoch === m.epoch;
  const stable = up && m.observed?.phase === "running" && at - m.updatedAt > STABLE_MS;
  return { observed, reason: up ? null : (observed.reason ?? m.reason), ...(stable && { attempt: 0 }) };
}

/** What of a spec counts when a machine starts: when it sleeps is known to those who watch it. */
function atStart(spec: MachineSpec): MachineSpec {
  return { ...spec, idleS: null, hold: false };
}

function isStarted(m: StoredMachine): boolean {
  return m.state === "running" || m.state === "paused" || m.state === "standby" || m.state === "provisioning";
}

type Change = Partial<StoredMachine> & { failed?: boolean };

function change(state: State, e: { seq: number; at: number; subject: string }, patch: (m: StoredMachine) => Change): Touched {
  const before = state.machine.get(e.subject);
  invariant(before, `event ${e.seq} is about a machine that is not there: ${e.subject}`);
  const { failed, ...fields } = patch(before);
  const next: StoredMachine = { ...before, ...fields, updatedAt: e.at };
  if (next.epoch !== before.epoch) next.needsRestart = false;
  const to = stateOf(next, failed ?? before.state === "failed");
  invariant(canBecome(before.state, to), `machine ${before.name} cannot go from ${before.state} to ${to}`);
  next.state = to;
  state.machine.set(e.subject, next);
  return [["machine", e.subject]];
}

/** It came to an end of its own, rather than broke; one that its policy leaves where a reboot of its host put it, too. */
export function hasEnded({ exit }: Observed, restart: string): boolean {
  return exit === "exited" || exit === "out-of-memory" || exit === "powered-off" || (exit === "host-rebooted" && restart === "no");
}

/** The one state that desired and observed add up to. */
function stateOf(m: StoredMachine, failed: boolean): MachineState {
  const seen = m.observed;
  if (seen?.phase === "running" || seen?.phase === "paused" || seen?.phase === "standby") {
    // Something of an older epoch still runs: for a user that is still the machine running.
    if (seen.epoch === m.epoch || m.state === seen.phase) return seen.phase;
    return m.node === null ? "requested" : "provisioning";
  }
  if (failed) return "failed";
  // It wakes, which is not yet to be awake.
  if (seen?.phase === "starting" && seen.epoch === m.epoch && m.state === "standby") return "standby";
  if (seen?.phase === "stopping" && (m.state === "running" || m.state === "paused" || m.state === "standby")) return m.state;
  if (seen?.phase === "exited" && seen.epoch === m.epoch && m.retryAt === null && hasEnded(seen, m.spec.restart)) return "stopped";
  if (
    m.power === "stopped" &&
    (seen === null ? m.node !== null && m.state !== "requested" : ["stopped", "exited", "absent", "failed"].includes(seen.phase))
  )
    return "stopped";
  if (seen?.phase === "stopped" && seen.epoch === m.epoch && seen.revision === m.revision) return "stopped";
  return m.node === null ? "requested" : "provisioning";
}
