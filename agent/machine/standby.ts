/**
 * Standby: a machine's RAM goes to its node's disk and its process ends; whoever wants something of it wakes it, a packet
 * included. The record decides which of the two it is: until it says "standby" the process is the machine, from then on
 * the files are, and once it says "starting" again the process is. So there is never none, and never both.
 *
 *   machines/ID/asleep/{devices,pages}   as memory.ts writes them
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/messages.ts";
import type { Channel } from "#agent/guest/channel.ts";
import { makeFolder } from "#agent/host/files.ts";
import { cpuMs } from "#agent/host/process.ts";
import { watchDoor, type Doorbell } from "#agent/network/doorbell.ts";
import type { Addresses } from "#agent/network/plan.ts";
import type { Driver, Vm } from "#runtimes/driver.ts";
import type { LaneDeps } from "./lane.ts";
import { asleepDir, baseFile, originIn, writeMemory } from "./memory.ts";
import type { Record } from "./record.ts";
import { vmSpec } from "./spec.ts";

const ASK_MS = 10_000;
const AWAKE_MS = 30_000;
/** Whoever has called for it may not have said yet what for. */
const CALL_MS = 1_000;

export type Sleeper = {
  record: Record;
  deps: LaneDeps;
  vmm: Driver;
  set(phase: Record["phase"], more?: Partial<Record>): void;
  uid(): number;
  addresses(): Addresses;
  runDir(): string;
  /** Has the lane look again. */
  wake(): void;
  /** Ends whatever runs as this machine and is not noted. */
  endStrays(): Promise<void>;
  /** Ends the process, and leaves what the machine has on the node. */
  endVmm(): Promise<void>;
  take(vm: Vm): void;
  becomeReady(signal: AbortSignal): Promise<"up" | "ended">;
  settle(as: "up" | "ended"): Promise<void>;
};

/** How often a machine that is to sleep when it is idle is looked at. */
const [LOOK_MIN_MS, LOOK_MAX_MS] = [1_000, 15_000];
/** Of one CPU: what a guest with nothing to do still uses. */
const IDLE_CPU = 0.1;

export function createSleep(s: Sleeper) {
  const { record, deps } = s;
  const { id } = record.desired;
  let door: Doorbell | undefined;
  let rung = false;
  let sessions = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let watch: ReturnType<typeof setInterval> | undefined;
  let calledAt = 0;
  let awakening: PromiseWithResolvers<void> | undefined;
  let active = { at: Date.now(), cpuMs: 0, sentBytes: 0 };

  const ring = (): void => {
    rung = true;
    s.wake();
  };
  const isWished = (wish: "standby" | "awake"): boolean => record.desired.sleep.n > record.sleep.n && record.desired.sleep.wish === wish;
  const heed = (refused: string | null): void => void (record.sleep = { n: record.desired.sleep.n, refused });

  const asWished = () => ({ sleep: { n: record.desired.sleep.n, refused: null }, wakeAt: record.desired.sleep.wakeAt });

  async function leaveDoor(): Promise<Doorbell | undefined> {
    clearTimeout(timer);
    const left = door;
    door = undefined;
    rung = false;
    await left?.close();
    return left;
  }

  /** true: it sleeps on. */
  async function whileAsleep(signal: AbortSignal): Promise<boolean> {
    const { power, epoch, restore } = record.desired;
    if (isWished("standby")) s.set("standby", asWished());
    if (power === "absent" || (restore && restore.epoch > record.restoredEpoch)) {
      await leaveDoor();
      forgetSleep(deps.recordsDir, id);
      s.set("stopped");
      return false;
    }
    const due = record.wakeAt !== null && Date.now() >= record.wakeAt;
    if (!rung && !due && power === "running" && epoch === record.epoch && !isWished("awake")) {
      if (!door) await ensureTap(s);
      door ??= watchDoor(s.addresses(), ring);
      clearTimeout(timer);
      if (record.wakeAt !== null) timer = setTimeout(s.wake, Math.min(record.wakeAt - Date.now(), 2 ** 31 - 1));
      return true;
    }
    if (isWished("awake")) heed(null);
    if (rung) calledAt = Date.now();
    await wakeUp(s, await leaveDoor(), signal);
    active.at = Date.now();
    return false;
  }

  /** true: it has gone to sleep. */
  async function whileAwake(vm: Vm, channel: Channel): Promise<boolean> {
    watchIdle();
    const wished = isWished("standby");
    if (!wished && !isIdle()) return false;
    const { force } = record.desired.sleep;
    const soonMs = calledAt + CALL_MS - Date.now();
    if (soonMs > 0 && !force) {
      timer = setTimeout(s.wake, soonMs);
      return false;
    }
    try {
      const why = wished && force ? null : await whyAwake(record, channel, sessions, wished);
      if (why !== null) throw new HyperlaneError("STATE", `It stays awake: ${why}.`);
      await fallAsleep(s, vm, channel, wished ? asWished() : { wakeAt: null });
      clearInterval(watch);
      watch = undefined;
      return true;
    } catch (thrown) {
      active.at = Date.now();
      if (!wished) return false;
      heed(toHyperlaneError(thrown).message);
      s.set(record.phase);
      return false;
    }
  }

  function isIdle(): boolean {
    const { idleS } = record.desired.spec;
    return idleS !== null && Date.now() - active.at >= idleS * 1000;
  }

  /** Something goes on in it as long as it sends, computes, or somebody is in it. */
  function watchIdle(): void {
    const { idleS } = record.desired.spec;
    if (idleS === null || watch) return;
    const everyMs = Math.min(LOOK_MAX_MS, Math.max(LOOK_MIN_MS, idleS * 200));
    active.at = Date.now();
    watch = setInterval(() => {
      const now = { cpuMs: record.process ? cpuMs(record.process) : 0, sentBytes: deps.network.traffic(id).networkOutBytes };
      const busy = sessions > 0 || now.sentBytes !== active.sentBytes || now.cpuMs - active.cpuMs > everyMs * IDLE_CPU;
      active = { ...now, at: busy ? Date.now() : active.at };
      if (isIdle()) s.wake();
    }, everyMs);
  }

  return {
    whileAsleep,
    whileAwake,
    /** The machine is in this phase now. */
    note(phase: Record["phase"]): void {
      if (phase === "standby" || phase === "starting") return;
      awakening?.resolve();
      awakening = undefined;
    },
    /** Somebody wants something of it that only one that is awake can give. */
    async awake(): Promise<void> {
      if (record.phase !== "standby" && (record.phase !== "starting" || record.origin !== "memory")) return;
      awakening ??= Promise.withResolvers();
      ring();
      await Promise.race([awakening.promise, Bun.sleep(AWAKE_MS)]);
    },
    /** Somebody is in it, until the result is called. */
    enter(): () => void {
      sessions++;
      let left = false;
      return () => void (left || (sessions--, (left = true)));
    },
    async close(): Promise<void> {
      clearInterval(watch);
      watch = undefined;
      await leaveDoor();
    },
  };
}

/** Looked at right before: what goes on in it that would be cut off; null: nothing. */
async function whyAwake(record: Record, channel: Channel, sessions: number, wished: boolean): Promise<string | null> {
  if (record.desired.spec.hold && !wished) return "it is held awake";
  if (sessions)
    return `${sessions === 1 ? "a command, a copy or a terminal is" : `${sessions} commands, copies or terminals are`} open in it`;
  const open = (await channel.ask(F.STATS, Buffer.from([2]), ASK_MS)).readUInt32LE(0);
  if (open) return open === 1 ? "a connection to it is open" : `${open} connections to it are open`;
  return null;
}

/** Throws where it stays awake. */
async function fallAsleep(s: Sleeper, vm: Vm, channel: Channel, more: Partial<Record>): Promise<void> {
  const { record, deps } = s;
  const { id } = record.desired;
  try {
    await makeFolder(asleepDir(deps.recordsDir, id), 0o700, (next) => writeMemory({ ...deps, vmm: s.vmm }, { vm, channel }, record, next));
  } catch (thrown) {
    await vm.resume();
    throw thrown;
  }
  s.set("standby", more);
  await s.endVmm();
  deps.changed(id);
}

/** Gone where the host has restarted. */
async function ensureTap({ record, deps, uid }: Sleeper): Promise<void> {
  const { id } = record.desired;
  if (!deps.network.has(id)) await deps.network.attach(id, uid());
}

async function wakeUp(s: Sleeper, door: Doorbell | undefined, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { id, spec, rootfs } = record.desired;
  const [asleep, base] = [asleepDir(deps.recordsDir, id), baseFile(deps.recordsDir, id)];
  // One that an agent had started before it was killed has not run yet.
  await s.endStrays();
  if (!existsSync(base)) renameSync(`${asleep}/pages`, base);
  const image = rootfs === null ? null : deps.images.find(rootfs);
  if (image === null) throw new HyperlaneError("NOT_FOUND", "Its image is no longer on this node.");
  await ensureTap(s);
  const volumes = record.places.map(({ volume, readonly }) => ({ file: volume === null ? null : deps.volumes.lent(volume, id), readonly }));
  const from = { ...originIn(deps, asleep, base, spec.memoryMib), paused: true };
  const ready = { image, disk: deps.storage.diskPath(id), volumes, folders: [], devices: [], runDir: s.runDir(), uid: s.uid(), from };
  const vm = await s.vmm.start(vmSpec(record, deps, s.addresses(), ready), signal);
  s.take(vm);
  s.set("starting", { origin: "memory", template: null });
  await vm.resume();
  door?.deliver();
  await s.settle(await s.becomeReady(signal));
  rmSync(asleep, { recursive: true, force: true });
}

/** What it was before it slept is given up: it starts anew. */
export function forgetSleep(recordsDir: string, id: string): void {
  for (const dir of [asleepDir(recordsDir, id), `${asleepDir(recordsDir, id)}.new`]) rmSync(dir, { recursive: true, force: true });
}
