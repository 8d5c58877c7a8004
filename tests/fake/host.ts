/**
 * A node whose machines are only pretended, behind the same interface as the real lanes: what an agent takes and
 * reports, without a hypervisor. The simulation, the golden files and the benches run the real control plane
 * against it. Names choose failures: fail-boot-*, crash-loop-*, flaky-*.
 */
import { createFakeGuest } from "./guest.ts";
import type { Clock } from "#control/reconcile/loop.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { NodeStatus } from "#contract/resources/other.ts";
import type { VolumeObserved } from "#contract/resources/volume.ts";
import type { Desired, DesiredVolume } from "#contract/wire/agent.ts";

type Process = { pid: number; epoch: number; cpu: number; memoryMib: number; paused: boolean };
type FakeRecord = Pick<Observed, "phase" | "epoch" | "exit" | "reason" | "steps" | "snapshots" | "exitCode" | "restoredEpoch"> & {
  desired: Desired;
  slept: number;
  move: Observed["move"];
  pid: number | null;
  stopping: boolean;
};

type FakeVolume = { desired: DesiredVolume; snapshots: VolumeObserved["snapshots"]; restoredEpoch: number };

/** What outlives an agent: its records and the machines' processes. */
export type FakeHost = {
  records: Map<string, FakeRecord>;
  processes: Map<string, Process>;
  ends: Map<string, "powered-off" | "crashed" | "host-rebooted">;
  starts: Map<string, number>;
  /** Disks of volumes, by id. */
  volumes: Map<string, FakeVolume>;
  /** File systems of images, by their ids. */
  images: Set<string>;
  nextPid: number;
};
/** Machines that were sent on their way, by id and number: what a target finds at the other end. */
const ways = new Map<string, boolean>();
export type FakeLanes = ReturnType<typeof createFakeLanes>;

export function createFakeHost(): FakeHost {
  return {
    records: new Map(),
    processes: new Map(),
    ends: new Map(),
    starts: new Map(),
    volumes: new Map(),
    images: new Set(),
    nextPid: 1000,
  };
}

export function fakeStatus(host: FakeHost, size: { cpu: number; memoryMib: number; diskMib: number }): NodeStatus {
  return {
    version: "0",
    bootId: "boot",
    ...size,
    diskFreeMib: size.diskMib,
    accelerator: "tcg",
    compatibility: "pretended",
    acceleratorReason: "machines are only pretended",
    storage: "sparse",
    runtimes: ["qemu", "docker"],
    images: [...host.images].map((rootfs) => ({ rootfs, bytes: 100 * 2 ** 20 })),
    folders: ["/srv"],
    templates: [],
    lacking: [],
    devices: [
      {
        address: "0000:01:00.0",
        kind: "gpu",
        class: "030000",
        vendor: "10de",
        device: "2684",
        driver: "nvidia",
        group: 1,
        unavailable: null,
      },
      {
        ...{ address: "0000:02:00.0", kind: "network", class: "020000", vendor: "8086", device: "10d3", driver: "e1000e", group: 2 },
        unavailable: "its IOMMU group 2 is shared with 0000:03:00.0",
      },
    ],
  };
}

function fresh(desired: Desired): FakeRecord {
  return {
    desired,
    phase: "stopped",
    epoch: 0,
    exit: null,
    exitCode: null,
    reason: null,
    steps: [],
    snapshots: {},
    restoredEpoch: 0,
    slept: 0,
    move: null,
    pid: null,
    stopping: false,
  };
}

/** The image every pretended node can make machines from: as the log keeps it. */
export const FAKE_IMAGE = {
  name: "debian:12",
  digest: `sha256:${"d".repeat(64)}`,
  target: `sha256:${"d".repeat(64)}`,
  rootfs: "e".repeat(64),
  platform: "linux/amd64",
  bytes: 100 * 2 ** 20,
  run: { entrypoint: [], cmd: ["/sbin/init"], env: [], user: "", workdir: "", stopSignal: "", ports: [], volumes: [], health: null },
};

/** And as a machine keeps it. */
export const FAKE_MACHINE_IMAGE = { digest: FAKE_IMAGE.digest, rootfs: FAKE_IMAGE.rootfs, run: FAKE_IMAGE.run };

/** An agent's volumes on that host. */
export function createFakeVolumes(host: FakeHost) {
  const listeners = new Set<(id: string) => void>();
  const removed = new Map<string, VolumeObserved>();
  const absent = { state: "absent" as const, sizeMib: 0, bytes: 0, reason: null, snapshots: {}, restoredEpoch: 0 };
  const tell = (id: string): void => listeners.forEach((l) => l(id));
  return {
    apply(desired: DesiredVolume): void {
      const { id, revision, present, snapshots, restore } = desired;
      const before = host.volumes.get(id);
      if (revision < (before?.desired ?? removed.get(id) ?? desired).revision) return;
      if (!present) {
        host.volumes.delete(id);
        removed.set(id, { ...absent, revision });
        return tell(id);
      }
      const ready = { state: "ready" as const, bytes: 2 ** 20, reason: null };
      host.volumes.set(id, {
        desired,
        snapshots: Object.fromEntries(snapshots.map((s) => [s, before?.snapshots[s] ?? ready])),
        restoredEpoch: restore?.epoch ?? 0,
      });
      tell(id);
    },
    async import(_: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
      for await (const _ of archive);
    },
    observe(id: string): VolumeObserved | undefined {
      const v = host.volumes.get(id);
      if (!v) return removed.get(id);
      const { revision, sizeMib } = v.desired;
      return { state: "ready", revision, sizeMib, bytes: 2 ** 20, reason: null, snapshots: v.snapshots, restoredEpoch: v.restoredEpoch };
    },
    ids: (): string[] => [...host.volumes.keys()],
    onChange(listener: (id: string) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
export type FakeVolumes = ReturnType<typeof createFakeVolumes>;

/** An agent's lanes on that host. stepMs: how long each step takes. guests: that which is inside of its machines is pretended too. */
export function createFakeLanes(host: FakeHost, clock: Clock, stepMs: () => number, guests = false) {
  const listeners = new Set<(id: string) => void>();
  const removed = new Map<string, Observed>();
  const busy = new Set<string>();
  const dirty = new Set<string>();
  const heard = new Set<string>();
  let closed = false;
  const pause = (): Promise<void> => new Promise((done) => clock.after(stepMs(), done));
  const tell = (id: string): void => void (closed || listeners.forEach((l) => l(id)));

  function set(r: FakeRecord, change: Partial<FakeRecord>): void {
    Object.assign(r, change);
    tell(r.desired.id);
  }

  async function run(id: string): Promise<void> {
    dirty.add(id);
    if (busy.has(id)) return;
    busy.add(id);
    while (dirty.delete(id) && !closed && host.records.has(id)) await converge(host.records.get(id)!);
    busy.delete(id);
  }

  async function converge(r: FakeRecord): Promise<void> {
    const { desired: d } = r;
    if (r.pid !== null && host.processes.get(d.id)?.pid !== r.pid) ended(r);
    // A start that the agent's end interrupted is begun anew.
    if (r.pid === null && r.phase === "preparing") (host.processes.delete(d.id), set(r, { phase: "stopped", epoch: 0 }));
    if (d.power === "absent") return await remove(r);
    if (await onItsWay(r)) return;
    if (r.pid !== null && (d.power === "stopped" || r.epoch !== d.epoch || r.stopping)) await stop(r);
    if (closed) return;
    if (d.restore && r.restoredEpoch < d.restore.epoch) set(r, { restoredEpoch: d.restore.epoch });
    for (const s of Object.keys(r.snapshots)) if (!d.snapshots.includes(s)) delete r.snapshots[s];
    if (d.power !== "stopped" && r.pid === null && r.epoch !== d.epoch) await start(r);
    else if (d.power === "stopped" && r.pid === null && (r.phase !== "stopped" || r.epoch !== d.epoch))
      set(r, { phase: "stopped", epoch: d.epoch, exit: null, reason: null, steps: [] });
    if (closed) return;
    sleepOrWake(r);
    const process = host.processes.get(d.id);
    if (process && r.phase === "starting") set(r, { phase: "running" });
    if (process && r.phase === "running" && d.power === "paused") ((process.paused = true), set(r, { phase: "paused" }));
    else if (process && r.phase === "paused" && d.power === "running") ((process.paused = false), set(r, { phase: "running" }));
    for (const s of d.snapshots)
      if (!r.snapshots[s]) set(r, { snapshots: { ...r.snapshots, [s]: { state: "ready", bytes: 12 * 2 ** 20, reason: null } } });
  }

  /** As a lane does it: the two ends meet in what all hosts of a world share. true: all that can be done is done. */
  async function onItsWay(r: FakeRecord): Promise<boolean> {
    const { move, id, epoch, spec } = r.desired;
    const meeting = (n: number) => `${id} ${n}`;
    if (move?.role === "target") {
      if (r.move?.n === move.n)
        return r.move.stage !== "moving"
          ? true
          : (set(r, { move: { ...r.move, stage: "failed", reason: "its agent was restarted" } }), true);
      set(r, { move: { n: move.n, stage: "moving", reason: null } });
      for (let i = 0; i < 20 && !ways.get(meeting(move.n)) && !closed; i++) await pause();
      if (closed || r.desired.move?.n !== move.n) return true;
      const came = ways.get(meeting(move.n));
      set(r, { epoch, move: { n: move.n, stage: came ? "done" : "failed", reason: came ? null : "Nobody came" } });
      return true;
    }
    if (r.move && !move && r.pid === null && r.move.stage === "done") {
      // It is the machine now.
      const pid = host.nextPid++;
      host.processes.set(id, { pid, epoch, cpu: spec.cpu, memoryMib: spec.memoryMib, paused: false });
      set(r, { pid, phase: "running", move: null, steps: [{ name: "ready", ms: 1 }] });
      return false;
    }
    if (move?.role === "source" && r.phase === "running") {
      if (r.move?.n === move.n && r.move.stage !== "moving") return r.move.stage === "done";
      const interrupted = r.move?.n === move.n;
      set(r, { move: { n: move.n, stage: interrupted ? "failed" : "moving", reason: interrupted ? "its agent was restarted" : null } });
      if (interrupted) return false;
      await pause();
      if (closed || r.desired.move?.n !== move.n || host.processes.get(id)?.pid !== r.pid) return false;
      host.processes.get(id)!.paused = true;
      ways.set(meeting(move.n), true);
      set(r, { move: { n: move.n, stage: "done", reason: null } });
      return true;
    }
    if (r.move && !move) {
      const process = host.processes.get(id);
      if (process && r.phase === "running") process.paused = false;
      set(r, { move: null });
    }
    return false;
  }

  function sleepOrWake(r: FakeRecord): void {
    const { id, sleep, power, epoch, spec } = r.desired;
    if (r.slept >= sleep.n) return;
    if (sleep.wish === "standby" && r.phase === "running" && power === "running") {
      host.processes.delete(id);
      set(r, { phase: "standby", pid: null });
    } else if (r.phase === "standby") {
      const pid = host.nextPid++;
      host.processes.set(id, { pid, epoch, cpu: spec.cpu, memoryMib: spec.memoryMib, paused: false });
      set(r, { phase: "running", pid });
    }
    r.slept = sleep.n;
    tell(id);
  }

  function ended(r: FakeRecord): void {
    const exit = host.ends.get(r.desired.id) ?? "crashed";
    if (r.stopping) set(r, { pid: null, phase: "stopped", stopping: false, exit: null, reason: null });
    else
      set(r, {
        pid: null,
        phase: "exited",
        exit,
        reason:
          exit === "powered-off"
            ? "it was powered off from inside"
            : exit === "crashed"
              ? "its VMM process ended unexpectedly"
              : "its host restarted",
      });
  }

  async function start(r: FakeRecord): Promise<void> {
    const { id, name, epoch, spec } = r.desired;
    set(r, {
      phase: "preparing",
      epoch,
      exit: null,
      reason: null,
      steps: [
        { name: "image", ms: 1 },
        { name: "network", ms: 2 },
      ],
    });
    await pause();
    if (closed) return;
    const pid = host.nextPid++;
    host.starts.set(`${id} ${epoch}`, (host.starts.get(`${id} ${epoch}`) ?? 0) + 1);
    host.processes.set(id, { pid, epoch, cpu: spec.cpu, memoryMib: spec.memoryMib, paused: false });
    host.ends.delete(id);
    set(r, { phase: "starting", pid });
    await pause();
    if (closed) return;
    if (host.processes.get(id)?.pid !== pid) return ended(r);
    if (name.startsWith("fail-boot") || (name.startsWith("flaky") && epoch === 1)) {
      host.processes.delete(id);
      return set(r, { phase: "failed", pid: null, reason: "It did not become ready within 120 s; its console says: Kernel panic" });
    }
    set(r, { phase: "running", steps: [...r.steps, { name: "ready", ms: 3 }] });
    if (name.startsWith("crash-loop")) clock.after(stepMs(), () => kill(id, "crashed"));
  }

  async function stop(r: FakeRecord): Promise<void> {
    set(r, { phase: "stopping", stopping: true });
    await pause();
    if (closed) return;
    host.processes.delete(r.desired.id);
    set(r, { phase: "stopped", pid: null, stopping: false, exit: null, reason: null });
  }

  async function remove(r: FakeRecord): Promise<void> {
    const id = r.desired.id;
    if (r.pid !== null) await stop(r);
    if (closed) return;
    host.processes.delete(id);
    Object.assign(r, { phase: "absent", snapshots: {}, exit: null, exitCode: null, reason: null });
    removed.set(id, observed(r));
    host.records.delete(id);
    tell(id);
  }

  function kill(id: string, how: "powered-off" | "crashed" | "host-rebooted"): void {
    if (!host.processes.delete(id)) return;
    host.ends.set(id, how);
    if (!closed && host.records.has(id)) void run(id);
  }

  function observed(r: FakeRecord): Observed {
    const at = r.desired.slot + 2;
    return {
      phase: r.phase,
      revision: heard.has(r.desired.id) || r.phase === "absent" ? r.desired.revision : 0,
      epoch: r.epoch,
      exit: r.exit,
      exitCode: r.exitCode,
      health: null,
      reason: r.reason,
      steps: r.steps,
      origin: r.steps.length ? "boot" : null,
      pid: r.pid,
      address6: `fd00::${at.toString(16)}`,
      address4: `10.77.${at >> 8}.${at & 255}`,
      accelerator: r.pid === null ? null : "tcg",
      snapshots: { ...r.snapshots },
      volumes: Object.fromEntries(r.desired.mounts.flatMap((m) => (m.volume ? [[m.volume, { attached: true, reason: null }]] : []))),
      restoredEpoch: r.restoredEpoch,
      sleep: { n: r.slept, refused: null },
      move: r.move,
    };
  }

  for (const id of host.processes.keys()) if (!host.records.has(id)) host.processes.delete(id);
  for (const id of host.records.keys()) void run(id);
  return {
    apply(desired: Desired): void {
      const r = host.records.get(desired.id);
      if (desired.revision < (r?.desired ?? removed.get(desired.id) ?? desired).revision) return;
      if (r) r.desired = desired;
      else if (desired.power === "absent") {
        const gone: FakeRecord = { ...fresh(desired), phase: "absent", epoch: desired.epoch };
        removed.set(desired.id, observed(gone));
        return tell(desired.id);
      } else host.records.set(desired.id, fresh(desired));
      heard.add(desired.id);
      tell(desired.id);
      void run(desired.id);
    },
    observe: (id: string): Observed | undefined => (host.records.has(id) ? observed(host.records.get(id)!) : removed.get(id)),
    ids: (): string[] => [...host.records.keys()],
    get: (id: string) => (guests && host.processes.has(id) ? createFakeGuest(host.records.get(id)!.desired, clock) : undefined),
    onChange(listener: (id: string) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    kill,
    /** The agent ends, at once and wherever it stands; its machines run on. */
    close(): void {
      closed = true;
    },
  };
}
