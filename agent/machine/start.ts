/**
 * Starting a machine: what it needs is got ready side by side, then its process goes on from a template, or boots. A
 * template that does not lead to a machine is none: it is removed, and the machine boots.
 */
import { toHyperlaneError } from "#contract/errors.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { Addresses } from "#agent/network/plan.ts";
import type { Turns } from "#agent/host/turns.ts";
import type { Spare } from "#agent/templates/spares.ts";
import type { Shape } from "#agent/templates/shape.ts";
import type { Template } from "#agent/templates/templates.ts";
import { DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import type { Driver, Vm } from "#runtimes/driver.ts";
import type { LaneDeps } from "./lane.ts";
import { logSizes } from "./logs.ts";
import { importDisk, lendKernel } from "./kernel.ts";
import { lendDevices } from "./devices.ts";
import { lendMounts, PLACES } from "./mounts.ts";
import type { Record } from "./record.ts";
import { baseFile, keptMemory } from "./memory.ts";
import { forgetSleep } from "./standby.ts";
import { vmSpec } from "./spec.ts";

export type Start = {
  record: Record;
  deps: LaneDeps;
  /** What it runs on, where it is no container. */
  vmm: Driver;
  mounts: Parameters<typeof lendMounts>[0];
  set(phase: Record["phase"], more?: Partial<Record>): void;
  uid(): number;
  addresses(): Addresses;
  runDir(): string;
  /** Ends the process, and takes back all that it had. */
  endProcess(): Promise<void>;
  becomeReady(signal: AbortSignal): Promise<"up" | "ended">;
  /** Throws where it ended and not of its own. */
  settle(as: "up" | "ended"): Promise<void>;
  /** It has a process now. */
  take(vm: Vm): void;
};
/** A template but for that: it is one machine's own. */
type Kept = Omit<Template, "key"> & { key: null };
/** What it goes on from, and in which process, if one waits for it. */
type Way = { template: Template | Kept | null; spare: Spare | null };
const BOOT: Way = { template: null, spare: null };
const TURN_MS = 3_000;
const NOTABLE_MS = 200;
type Step = Observed["steps"][number]["name"];
const STEPS: readonly Step[] = ["image", "disk", "network", "start", "ready"];

export async function startMachine(s: Start, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { id } = record.desired;
  beginStart(s);
  forgetSleep(deps.recordsDir, id);
  const newDisk = !deps.storage.has(id);
  const shape = shapeOf(record);
  const template = (await whatWasKept(s)) ?? (shape && (await deps.templates.find(shape, newDisk && !record.desired.source)));
  using _started = demandFor(s, shape);
  await inTurn(deps.starts, () => tryWays(s, template, newDisk, signal), signal);
  if (shape) deps.templates.wish(shape);
}

/** What is remembered of the start before is forgotten. */
export function beginStart({ record, set }: Start): void {
  const fresh = { process: null, uid: null, stopping: null, origin: null, template: null };
  set("preparing", { ...fresh, epoch: record.desired.epoch, exit: null, exitCode: null, reason: null, steps: [] });
}

/** From a spare, from the template, and else it boots. */
async function tryWays(s: Start, template: Template | Kept | null, newDisk: boolean, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const spare = template && spareFor(s, template);
  const ways: Way[] = [...(spare ? [{ template, spare }] : []), ...(template ? [{ template, spare: null }] : []), BOOT];
  for (const way of ways)
    try {
      return await launch(s, way, signal);
    } catch (thrown) {
      const error = toHyperlaneError(thrown);
      if (way === BOOT || signal.aborted || error.code === "NO_SPACE") throw thrown;
      await s.endProcess();
      giveUp(s, way, error.message);
      if (newDisk && template?.disk) await deps.storage.remove(record.desired.id);
      record.steps = [];
    }
}

/** What follows asks for as many spares as machines start at once. */
function demandFor({ record, deps }: Start, shape: Shape | null): DisposableStack {
  const until = new DisposableStack();
  if (shape && !shape.system) until.defer(deps.spares.started(deps.templates.keyFor(shape), shape, record.desired.rootfs!));
  return until;
}

/** One that takes its time to come up does not keep others from starting. */
async function inTurn(turns: Turns, work: () => Promise<void>, signal: AbortSignal): Promise<void> {
  let done: Promise<void> | undefined;
  await turns.turn(() => Promise.race([(done = work()).catch(() => {}), Bun.sleep(TURN_MS)]), signal);
  await done;
}

function giveUp({ record, deps }: Start, { template, spare }: Way, why: string): void {
  if (spare) deps.log(`${record.desired.name}: a spare was of no use: ${why}`);
  else if (template!.key !== null) deps.templates.spoil(template!.key, why);
  else deps.log(`${record.desired.name}: it boots, since its kept memory is of no use: ${why}`);
}

/** A spare has places for volumes to write to. */
function spareFor({ record, deps }: Start, template: Template | Kept): Spare | null {
  const { workload, mounts } = record.desired;
  if (template.key === null || workload.kind === "system" || mounts.some((m) => m.readonly)) return null;
  return deps.spares.take(template);
}

/** null: no template can be had of it: they are QEMU's. A folder of the host is a process of its own, which is in no template, as no device is. */
function shapeOf({ desired: { spec, workload, rootfs, mounts } }: Record): Shape | null {
  if ((spec.runtime ?? DEFAULT_RUNTIME) !== DEFAULT_RUNTIME) return null;
  if (rootfs === null || mounts.some((m) => m.folder !== null) || mounts.length > PLACES || spec.devices.length) return null;
  const { cpu, memoryMib, diskMib } = spec;
  return { cpu, memoryMib, system: workload.kind === "system" ? { rootfs, init: workload.init, diskMib } : null };
}

/** Where this start is for a snapshot that keeps memory, it goes on from that. */
async function whatWasKept({ record, deps, vmm }: Start): Promise<Kept | null> {
  const { restore, epoch } = record.desired;
  if (restore?.epoch !== epoch) return null;
  const kept = await keptMemory({ ...deps, vmm }, record, restore.snapshot).catch((thrown) => {
    deps.log(`${record.desired.name}: ${toHyperlaneError(thrown).message}`);
    return null;
  });
  return kept && { ...kept, key: null, disk: null };
}

async function launch(s: Start, { template, spare }: Way, signal: AbortSignal): Promise<void> {
  const { record, deps, mounts } = s;
  const { id, rootfs } = record.desired;
  await using undo = new AsyncDisposableStack();
  if (spare) undo.defer(() => deps.spares.dismiss(spare));
  undo.defer(s.endProcess);
  record.uid = spare?.uid ?? null;
  const step = createSteps(s);
  const [image, disk] = await together([
    step("image", async () => (rootfs === null ? null : await deps.images.arrived(rootfs, signal))),
    step("disk", () => makeDisk(s, template)),
    step("network", () => (spare ? deps.network.handOver(spare.id, id) : deps.network.attach(id, s.uid()))),
  ]);
  const lent = { ...(await lendMounts(mounts, s.uid(), signal)), devices: lendDevices({ ...mounts, devices: deps.devices }, s.uid()) };
  let confined: Promise<void> | undefined;
  await step("start", async () => {
    record.logFrom = logSizes(deps.logsDir, id);
    deps.templates.release(baseFile(deps.recordsDir, id));
    if (template) deps.templates.keep(template, baseFile(deps.recordsDir, id));
    const from = template?.origin ?? null;
    record.template = template?.key ?? null;
    const ready = { image, disk, ...lent, runDir: s.runDir(), uid: s.uid(), from };
    const made = vmSpec(record, deps, s.addresses(), { ...ready, own: await lendKernel(deps, record.desired, disk, s.uid()) });
    await spare?.vm.become(made);
    confined = spare?.vm.confine(made);
    confined?.catch(() => {});
    s.take(spare?.vm ?? (await s.vmm.start(made, signal)));
  });
  s.set("starting", { origin: template ? (template.key === null ? "memory" : spare ? "spare" : "template") : "boot" });
  await s.settle(await step("ready", () => s.becomeReady(signal)));
  await confined;
  if (spare) void deps.spares.forget(spare);
  undo.move();
}

/** Does a step of a start, and notes how long it took. */
export function createSteps({ record, deps }: Start) {
  return async <T>(name: Step, work: () => Promise<T>): Promise<T> => {
    const from = performance.now();
    const result = await work();
    const ms = Math.round((performance.now() - from) * 10) / 10;
    const done = [...record.steps, { name, ms }];
    record.steps = done.sort((a, b) => STEPS.indexOf(a.name) - STEPS.indexOf(b.name));
    // What somebody may be waiting for; the rest is told with what follows.
    if (ms > NOTABLE_MS) deps.changed(record.desired.id);
    return result;
  };
}

async function makeDisk({ record, deps, uid }: Start, template: Template | Kept | null): Promise<string> {
  const { id, spec, source, workload } = record.desired;
  if (workload.kind === "own" && !source) return await importDisk(deps, record.desired, uid());
  if (!source || deps.storage.has(id)) return deps.storage.createDisk(id, spec.diskMib, uid(), template?.disk);
  record.copied = true;
  return await deps.storage.cloneDisk(id, { id: source.machine, snapshot: source.snapshot }, uid());
}

/** All of them, to their ends, also where one fails: nothing is taken back that another still works on. */
async function together<T extends readonly unknown[]>(all: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const ended = await Promise.allSettled(all);
  const failed = ended.find((e) => e.status === "rejected");
  if (failed) throw failed.reason;
  return ended.map((e) => (e as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
