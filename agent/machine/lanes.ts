/** All lanes of a node: takes desired documents in, reports what is observed, finds what nobody asked for. */
import { rmSync } from "node:fs";
import { cgroupPids, listCgroups, removeCgroup } from "#agent/host/cgroup.ts";
import { identify, kill } from "#agent/host/process.ts";
import type { MachineNetwork } from "#agent/network/plan.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { Desired } from "#contract/wire/agent.ts";
import { createLane, type Lane, type LaneDeps } from "./lane.ts";
import { loadRecords } from "./record.ts";

const REMOVED_MAX = 10_000;

export type Lanes = ReturnType<typeof openLanes>;

export function openLanes(deps: Omit<LaneDeps, "changed" | "refreshNetwork" | "removed">) {
  const lanes = new Map<string, Lane>();
  /** Machines that were removed, so that the one who asked hears of it; a full report leaves them out. */
  const removed = new Map<string, Observed>();
  const remember = (id: string, last: Observed): void => {
    removed.delete(id);
    removed.set(id, last);
    if (removed.size > REMOVED_MAX) removed.delete(removed.keys().next().value!);
  };
  const listeners = new Set<(id: string) => void>();
  const changed = (id: string): void => listeners.forEach((l) => l(id));

  const machines = (): MachineNetwork[] =>
    [...lanes.values()].filter((l) => l.record.desired.power !== "absent").map((l) => l.record.desired);
  const refreshNetwork = (): Promise<void> => deps.network.setRules(machines());
  const all: LaneDeps = {
    ...deps,
    changed,
    refreshNetwork,
    removed(id) {
      remember(id, lanes.get(id)!.observed());
      lanes.delete(id);
    },
  };

  /** Whatever runs, or could, as a machine of this node. */
  async function there() {
    const vmms = await Promise.all(deps.vmms.all().map((driver) => driver.list(deps.runDir)));
    return [...vmms.flat(), ...(await deps.containers.driver.list(deps.runDir).catch(() => []))];
  }

  /** At start: machines that still run are taken up again; what belongs to none is removed. */
  async function recover(): Promise<void> {
    const { records, unreadable } = loadRecords(deps.recordsDir);
    for (const record of records) lanes.set(record.desired.id, createLane(all, record, record.desired));
    for (const id of unreadable) deps.log(`The record of ${id} cannot be read; its disk is kept.`);
    const running = await there();
    const strays = new Set(
      [...running.map((p) => p.id), ...listCgroups(`${deps.node}.`), ...deps.network.attached()].filter((id) => !lanes.has(id)),
    );
    for (const id of strays) await sweep(id, running);
    await deps.folders.sweep((id) => (lanes.get(id)?.record.folders.length ?? 0) > 0);
    await refreshNetwork();
    for (const lane of lanes.values()) lane.wake();
  }

  /** Ends and removes whatever carries this id, but never a disk. */
  async function sweep(id: string, running: Awaited<ReturnType<typeof there>>): Promise<void> {
    deps.log(`Removing what is left of ${id}, which nobody asked for.`);
    for (const p of running) if (p.id === id && p.process) kill(p.process, "SIGKILL");
    for (const pid of cgroupPids(`${deps.node}.${id}`)) {
      const process = identify(pid);
      if (process) kill(process, "SIGKILL");
    }
    await deps.network.detach(id).catch((e) => deps.log(String(e)));
    await Bun.sleep(50);
    await deps.containers.release(id);
    await deps.containers.driver.forget(id).catch(() => {});
    rmSync(`${deps.runDir}/${id}`, { recursive: true, force: true });
    await removeCgroup(`${deps.node}.${id}`);
  }

  return {
    recover,
    get: (id: string) => lanes.get(id),
    apply(desired: Desired): void {
      const lane = lanes.get(desired.id);
      if (lane) return lane.apply(desired);
      // A document from before its removal, come late, must not bring it back.
      if ((removed.get(desired.id)?.revision ?? -1) > desired.revision) return;
      if (desired.power === "absent") {
        remember(desired.id, gone(desired));
        deps.network.detach(desired.id).catch(() => {});
        return changed(desired.id);
      }
      const made = createLane(all, null, desired);
      lanes.set(desired.id, made);
      made.apply(desired);
    },
    observe: (id: string): Observed | undefined => lanes.get(id)?.observed() ?? removed.get(id),
    ids: () => [...lanes.keys()],
    /** What they were promised, and who their VMMs may be: what is left is for spares. */
    promisedMib: () =>
      [...lanes.values()].reduce((sum, { record: { desired } }) => sum + (desired.power === "absent" ? 0 : desired.spec.memoryMib), 0),
    uids: () => [...lanes.values()].map((l) => l.record.uid),
    names: () =>
      [...lanes.values()].map((l) => {
        const { name, networks } = l.record.desired;
        return { name, networks, ...l.addresses() };
      }),
    onChange(listener: (id: string) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    detach: () => lanes.forEach((l) => l.detach()),
  };
}

function gone(d: Desired): Observed {
  return {
    phase: "absent",
    revision: d.revision,
    epoch: d.epoch,
    exit: null,
    exitCode: null,
    health: null,
    reason: null,
    steps: [],
    origin: null,
    sleep: { n: 0, refused: null },
    move: null,
    pid: null,
    address6: null,
    address4: null,
    accelerator: null,
    snapshots: {},
    volumes: {},
    restoredEpoch: 0,
  };
}
