/**
 * One lane per machine: it takes the newest desired document and converges to it, one step at a time. A newer
 * document interrupts a wait and is then looked at. What went wrong is a phase with a reason; the lane tries a
 * start once per epoch, for it does and does not decide.
 */
import { rmSync } from "node:fs";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Observed } from "#contract/resources/machine.ts";
import { isForContainers, type Desired, type Identity } from "#contract/wire/agent.ts";
import { encodeStop, F } from "#contract/wire/messages.ts";
import type { Containers } from "#agent/containers/containers.ts";
import { startContainer } from "#agent/containers/start.ts";
import { removeCgroup } from "#agent/host/cgroup.ts";
import type { Devices } from "#agent/host/devices.ts";
import type { Folders } from "#agent/host/folders.ts";
import type { Turns } from "#agent/host/turns.ts";
import { bootId, cpuMs, end, isAlive, kill } from "#agent/host/process.ts";
import type { Images } from "#agent/images/store.ts";
import { addressesOf } from "#agent/network/plan.ts";
import type { Network } from "#agent/network/apply.ts";
import type { Storage } from "#agent/storage/storage.ts";
import type { Volumes } from "#agent/storage/volumes.ts";
import type { Spares } from "#agent/templates/spares.ts";
import type { Templates } from "#agent/templates/templates.ts";
import type { Vmms } from "#agent/vmms.ts";
import { DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import type { Vm, VmState } from "#runtimes/driver.ts";
import { createWays } from "#agent/move/ways.ts";
import type { Tls } from "#agent/move/streams.ts";
import { createAttendance } from "./attend.ts";
import { commitDisk, dropSnapshots, restoreSnapshot, takeSnapshots } from "./disks.ts";
import { releaseDevices } from "./devices.ts";
import { endingOf } from "./ending.ts";
import { firstRung } from "./ladder.ts";
import { lastLine, readExit, removeLogs } from "./logs.ts";
import { convergeMounts, noteUse, releaseMounts } from "./mounts.ts";
import { observedOf } from "./observed.ts";
import { newRecord, removeRecord, saveRecord, type Record } from "./record.ts";
import { createSleep } from "./standby.ts";
import { baseFile, dropMemory, keepMemory } from "./memory.ts";
import { startMachine } from "./start.ts";
import { climbDown, untilOff } from "./stopping.ts";

export type LaneDeps = {
  /** The node's id. */
  node: string;
  /** By which other nodes know it. */
  tls: Tls;
  recordsDir: string;
  runDir: string;
  logsDir: string;
  vmms: Pick<Vmms, "all" | "get">;
  containers: Containers;
  storage: Storage;
  images: Images;
  volumes: Volumes;
  folders: Folders;
  devices: Devices;
  network: Network;
  templates: Templates;
  spares: Spares;
  /** Machines that start at once. */
  starts: Turns;
  kernel: { kernel: string; initramfs: string };
  accelerator: "kvm" | "tcg";
  tscKhz: number;
  bootTimeoutMs: number;
  /** Something to report. */
  changed(id: string): void;
  /** Names, rules and slots follow from all machines. */
  refreshNetwork(): Promise<void>;
  removed(id: string): void;
  log(line: string): void;
};
export type Lane = ReturnType<typeof createLane>;

const UID_BASE = 900_000;
/** What could not be done with a machine's volumes is tried again. */
const AGAIN_MS = 2_000;
const LAST_MS = 10_000;

export function createLane(deps: LaneDeps, found: Record | null, first: Desired) {
  const record = found ?? newRecord(first);
  const id = first.id;
  const container = isForContainers(first.rootfs) ? deps.containers : null;
  const vmm = deps.vmms.get(first.spec.runtime ?? DEFAULT_RUNTIME);
  const driver = container?.driver ?? vmm;
  let identity: Identity | null = first.identity;
  /** Identities are in memory only. An agent that has just started reports no revision, so that it is told again. */
  let heard = found === null;
  let vm: Vm | undefined;
  let waiting = new AbortController();
  let [running, dirty]: [Promise<void> | undefined, boolean] = [undefined, false];
  const uid = (): number => record.uid ?? UID_BASE + record.desired.slot;
  const addresses = () => addressesOf(deps.network.network, record.desired);
  const mounts = { record, volumes: deps.volumes, folders: deps.folders, save };
  const does = { record, deps, vmm, mounts, set, uid, addresses, runDir, endProcess, endVmm, becomeReady, settle, take, wake, endStrays };
  const sleep = createSleep(does);
  const attendance = createAttendance({ ...does, driver, container: container !== null, identity: () => identity, save });
  const ways = createWays({ ...does, driver, attendance, save, vm: () => vm, hold });
  for (const { volume, readonly } of record.places) if (volume !== null) deps.volumes.adopt(volume, id, readonly);

  function save(durable = true): void {
    saveRecord(deps.recordsDir, record, durable);
    deps.changed(id);
  }

  function set(phase: Record["phase"], more: Partial<Record> = {}): void {
    Object.assign(record, { phase, ...more });
    sleep.note(phase);
    const ofProcess = (phase === "preparing" || phase === "starting" || phase === "running") && record.origin !== "memory";
    save(!ofProcess);
  }

  function apply(desired: Desired): void {
    if (desired.revision < record.desired.revision) return;
    identity = desired.identity ?? identity;
    heard = true;
    if (found === null || desired.revision > record.desired.revision) {
      const news =
        desired.power !== record.desired.power || desired.epoch !== record.desired.epoch || desired.move?.n !== record.desired.move?.n;
      record.desired = { ...desired, identity: null };
      if (news) waiting.abort();
    }
    attendance.guest?.configure();
    // It waits for its rules where it needs them.
    if (record.epoch !== desired.epoch) wake();
    // Reported as accepted only once its ports are open: whoever asked for one may then use it.
    deps
      .refreshNetwork()
      .catch((e) => deps.log(`${record.desired.name}: ${toHyperlaneError(e).message}`))
      .finally(() => {
        if (record.phase !== "absent") save(false);
        wake();
      });
  }

  function wake(): void {
    dirty = true;
    running ??= loop().finally(() => (running = undefined));
  }

  async function loop(): Promise<void> {
    while (dirty) {
      dirty = false;
      waiting = new AbortController();
      try {
        await converge(waiting.signal);
      } catch (thrown) {
        if (waiting.signal.aborted) {
          dirty = true;
          continue;
        }
        const error = toHyperlaneError(thrown);
        deps.log(`${record.desired.name}: ${error.message}`);
        if (vm && record.phase !== "running") await endProcess().catch(() => {});
        set("failed", { reason: error.message, stopping: null });
      }
    }
  }

  async function converge(signal: AbortSignal): Promise<void> {
    const d = record.desired;
    if (record.phase === "absent") return;
    if (await ways.between(signal)) return;
    // What goes on elsewhere, or may, does not run here again, not for a moment.
    if (d.power === "absent" && record.move) await endProcess();
    await look();
    if (record.phase === "standby" && (await sleep.whileAsleep(signal))) return atRest();
    if (d.power === "absent") return remove();
    if (vm && (d.power === "stopped" || record.epoch !== d.epoch || record.stopping)) await stop(false);
    if (d.restore && record.restoredEpoch < d.restore.epoch) await restoreSnapshot(disks, d.restore, uid());
    if (d.power !== "stopped" && !vm && record.epoch !== d.epoch) await (container ? startContainer : startMachine)(does, signal);
    else if (d.power === "stopped" && !vm && (record.phase !== "stopped" || record.epoch !== d.epoch))
      set("stopped", { epoch: d.epoch, exit: null, exitCode: null, reason: null, steps: [] });
    if (vm && record.phase === "running" && d.power === "paused") {
      await vm.pause();
      set("paused");
    } else if (vm && record.phase === "paused" && d.power === "running") {
      await vm.resume();
      set("running");
    }
    if (
      vm &&
      record.phase === "running" &&
      attendance.guest?.channel.connected &&
      !(await convergeMounts(mounts, vm, attendance.guest.channel, uid(), signal))
    )
      setTimeout(wake, AGAIN_MS);
    if (vm && ways.isDue()) return ways.leave(vm, signal);
    if (vm && record.phase === "running" && d.power === "running" && attendance.guest?.channel.connected)
      await sleep.whileAwake(vm, attendance.guest.channel);
    await atRest();
  }

  /** What is done whether it runs or not. */
  async function atRest(): Promise<void> {
    await dropSnapshots(disks);
    await deps.refreshNetwork();
    await takeSnapshots(disks);
  }

  /** Brings what we remember in line with what is there: after a restart of ours, of the host, or an end nobody asked for. */
  async function look(): Promise<void> {
    if (record.phase === "standby" && record.process) return endVmm();
    if (!record.process) {
      if (record.phase === "preparing") await forgetStart();
      return;
    }
    if (!vm) {
      vm = await driver.attach(record.process, runDir());
      if (vm) {
        attendance.listen(vm);
        if (record.phase === "preparing") record.phase = "starting";
      }
    }
    const state = vm ? await vm.state() : isAlive(record.process) ? "internal-error" : "gone";
    if (state === "running" || state === "paused") {
      // We stopped it, to save or before it ran at all, and were ended ourselves.
      if (state === "paused" && record.phase !== "paused") await vm?.resume();
      if (record.phase === "exited" || record.phase === "failed") record.phase = "starting";
      if (record.phase === "starting" && !record.stopping) await settle(await becomeReady(waiting.signal));
      else if (record.phase === "running") attendance.watch();
      return;
    }
    await noteEnd(state);
  }

  /** A started machine is up, or has come to its end already. */
  async function settle(as: "up" | "ended"): Promise<void> {
    if (as === "up") {
      attendance.watch();
      noteUse(mounts);
      return set("running", { copied: false });
    }
    await noteEnd((await vm?.state()) ?? "gone");
  }

  async function noteEnd(state: VmState): Promise<void> {
    const asked = record.stopping !== null;
    const ending = endingOf(record, deps.logsDir, state, record.process?.bootId !== bootId());
    await endProcess();
    if (asked) return set("stopped", { stopping: null, exit: null, exitCode: ending?.exitCode ?? null, reason: null });
    if (!ending) throw new HyperlaneError("FAILED", `It ended while starting; its console says: ${lastLine(deps.logsDir, id)}`);
    set("exited", ending);
  }

  /** An agent that ended in the middle of a start may have left a process it had not yet noted. The start is begun anew. */
  async function forgetStart(): Promise<void> {
    await endStrays();
    await endProcess();
    set("stopped", { epoch: 0, steps: [] });
  }

  async function endStrays(): Promise<void> {
    for (const p of await driver.list(deps.runDir)) if (p.id === id && p.process) kill(p.process, "SIGKILL");
  }

  function take(started: Vm): void {
    vm = started;
    record.process = vm.process;
    attendance.listen(vm);
  }

  /** It is nobody yet. */
  function hold(waiting: Vm): void {
    if (vm === waiting) return;
    vm = waiting;
    record.process = vm.process;
    vm.onChange((what) => void (what === "gone" && wake()));
  }

  function becomeReady(signal: AbortSignal): Promise<"up" | "ended"> {
    return attendance.becomeReady(vm!, signal);
  }

  async function stop(force: boolean): Promise<void> {
    const { workload } = record.desired;
    const [signal, seconds] = workload.kind === "process" ? [workload.stopSignal, workload.stopTimeoutS] : [0, 0];
    record.stopping ??= firstRung(force ? "vmm" : workload.kind === "own" ? "button" : "init", Date.now(), seconds * 1000);
    set("stopping");
    if ((await vm?.state()) === "paused") await vm?.resume();
    if (vm) await climbDown({ record, save }, vm, attendance.guest?.channel, encodeStop(signal, seconds));
    await endProcess();
    const exitCode = workload.kind === "process" ? (readExit(deps.logsDir, id, record.logFrom.workload)?.code ?? null) : null;
    set("stopped", { stopping: null, exit: null, exitCode, reason: null });
  }

  /** What the machine has on its node stays. */
  async function endVmm(): Promise<void> {
    attendance.close();
    if (record.process && isAlive(record.process)) {
      await vm?.quit();
      await end(record.process);
    }
    vm?.detach();
    vm = undefined;
    record.process = null;
    rmSync(runDir(), { recursive: true, force: true });
    await removeCgroup(`${deps.node}.${id}`);
  }

  async function endProcess(): Promise<void> {
    await endVmm();
    await sleep.close();
    await deps.network.detach(id);
    await container?.release(id);
    releaseDevices({ record, devices: deps.devices, save });
    await releaseMounts(mounts);
  }

  async function remove(): Promise<void> {
    // One whose workload has ended is about to end, with all that it wrote to its volumes.
    if (vm && readExit(deps.logsDir, id, record.logFrom.workload)) await untilOff(vm, LAST_MS);
    if (record.process) await stop(true);
    await endProcess();
    await driver.forget(id);
    await deps.storage.remove(id);
    deps.templates.release(baseFile(deps.recordsDir, id));
    removeLogs(deps.logsDir, id);
    removeRecord(deps.recordsDir, id);
    Object.assign(record, { phase: "absent", snapshots: {}, exit: null, exitCode: null, reason: null });
    deps.removed(id);
    deps.changed(id);
    await deps.refreshNetwork();
  }

  /** The file system inside stands still meanwhile, so that what is kept is whole. */
  async function frozen<T>(work: () => Promise<T>): Promise<T> {
    // Of a container's volumes the host writes out what it holds.
    if (container) await container.writeOut();
    const freeze = attendance.guest?.channel.connected && record.phase === "running" && !container;
    if (freeze) await attendance.guest!.channel.ask(F.FREEZE, Buffer.from([1]), 10_000);
    try {
      return await work();
    } finally {
      if (freeze)
        await attendance.guest?.channel
          .ask(F.FREEZE, Buffer.from([0]), 10_000)
          .catch((e) => deps.log(`${record.desired.name}: thaw: ${toHyperlaneError(e).message}`));
    }
  }

  const disks = { record, storage: deps.storage, save, frozen, withMemory, dropMemory: forgetMemory };

  function forgetMemory(snapshot: string): void {
    dropMemory(deps, id, snapshot);
  }

  function withMemory(snapshot: string, work: () => Promise<number>): Promise<number> {
    const runs = vm && attendance.guest?.channel.connected && (record.phase === "running" || record.phase === "paused");
    return keepMemory({ ...deps, vmm }, record, snapshot, runs ? { vm: vm!, channel: attendance.guest!.channel } : null, work);
  }

  /** Lets go of the machine, which keeps running. */
  function detach(): void {
    attendance.close();
    vm?.detach();
    void sleep.close();
  }

  function runDir(): string {
    return `${deps.runDir}/${id}`;
  }

  function observed(): Observed {
    const seen = {
      accelerator: container ? null : deps.accelerator,
      health: attendance.health,
      revision: heard ? record.desired.revision : 0,
    };
    return observedOf(record, addresses(), seen);
  }

  return {
    id,
    record,
    ...{ apply, wake, observed, addresses, frozen, detach, awake: sleep.awake, enter: sleep.enter, moveStream: ways.stream },
    /** What its runtime counts of it, and what the node does. */
    usage: () => vm?.usage() ?? Promise.resolve(null),
    counted: () => ({ cpuMs: record.process ? cpuMs(record.process) : 0, ...deps.network.traffic(id) }),
    /** Its writable layer as an image layer. */
    commit: (work: string) => commitDisk(disks, work),
    get channel() {
      return attendance.guest?.channel;
    },
  };
}
