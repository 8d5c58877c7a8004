/**
 * Starting a machine: what it needs is got ready side by side, then its process goes on from a template, or boots. A
 * template that does not lead to a machine is none: it is removed, and the machine boots.
 */
import { toHyperlaneError } from "#contract/errors.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { Addresses } from "#agent/network/plan.ts";
import type { Shape } from "#agent/templates/shape.ts";
import type { Template } from "#agent/templates/templates.ts";
import type { Vm } from "#runtimes/runtime.ts";
import type { LaneDeps } from "./lane.ts";
import { logSizes } from "./logs.ts";
import { lendMounts, PLACES } from "./mounts.ts";
import type { Record } from "./record.ts";
import { baseFile, keptMemory } from "./memory.ts";
import { forgetSleep } from "./standby.ts";
import { vmSpec } from "./spec.ts";

type Start = {
  record: Record;
  deps: LaneDeps;
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
type Step = Observed["steps"][number]["name"];
const STEPS: readonly Step[] = ["image", "disk", "network", "start", "ready"];

export async function startMachine(s: Start, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { id, epoch } = record.desired;
  s.set("preparing", { epoch, exit: null, exitCode: null, reason: null, steps: [], process: null, stopping: null, origin: null });
  forgetSleep(deps.recordsDir, id);
  const newDisk = !deps.storage.has(id);
  const shape = shapeOf(record);
  const template = (await whatWasKept(s)) ?? (shape && (await deps.templates.find(shape, newDisk)));
  const boots = (): Promise<void> => launch(s, null, signal);
  if (!template) await boots();
  else
    await launch(s, template, signal).catch(async (thrown) => {
      await s.endProcess();
      if (signal.aborted || toHyperlaneError(thrown).code === "NO_SPACE") throw thrown;
      if (template.key === null)
        deps.log(`${record.desired.name}: it boots, since its kept memory is of no use: ${toHyperlaneError(thrown).message}`);
      else deps.templates.spoil(template.key, toHyperlaneError(thrown).message);
      if (newDisk && template.disk) await deps.storage.remove(id);
      record.steps = [];
      await boots();
    });
  if (shape) deps.templates.wish(shape);
}

/** null: no template can be had of it. A folder of the host is a process of its own, which is in no template. */
function shapeOf({ desired: { spec, workload, rootfs, mounts } }: Record): Shape | null {
  if (mounts.some((m) => m.folder !== null) || mounts.length > PLACES) return null;
  const { cpu, memoryMib, diskMib } = spec;
  return { cpu, memoryMib, system: workload.kind === "system" ? { rootfs, init: workload.init, diskMib } : null };
}

/** Where this start is for a snapshot that keeps memory, it goes on from that. */
async function whatWasKept({ record, deps }: Start): Promise<Kept | null> {
  const { restore, epoch } = record.desired;
  if (restore?.epoch !== epoch) return null;
  const kept = await keptMemory(deps, record, restore.snapshot).catch((thrown) => {
    deps.log(`${record.desired.name}: ${toHyperlaneError(thrown).message}`);
    return null;
  });
  return kept && { ...kept, key: null, disk: null };
}

async function launch(s: Start, template: Template | Kept | null, signal: AbortSignal): Promise<void> {
  const { record, deps, mounts } = s;
  const { id, rootfs, spec } = record.desired;
  await using undo = new AsyncDisposableStack();
  undo.defer(s.endProcess);
  const step = async <T>(name: Step, work: () => Promise<T>): Promise<T> => {
    const from = performance.now();
    const result = await work();
    const done = [...record.steps, { name, ms: Math.round((performance.now() - from) * 10) / 10 }];
    record.steps = done.sort((a, b) => STEPS.indexOf(a.name) - STEPS.indexOf(b.name));
    deps.changed(id);
    return result;
  };
  const [image, disk] = await together([
    step("image", () => deps.images.arrived(rootfs, signal)),
    step("disk", () => deps.storage.createDisk(id, spec.diskMib, s.uid(), template?.disk)),
    step("network", async () => {
      await deps.network.attach(id, s.uid());
      await deps.refreshNetwork();
    }),
  ]);
  const lent = await lendMounts(mounts, s.uid(), signal);
  await step("start", async () => {
    record.logFrom = logSizes(deps.logsDir, id);
    deps.templates.release(baseFile(deps.recordsDir, id));
    if (template) deps.templates.keep(template, baseFile(deps.recordsDir, id));
    const from = template?.origin ?? null;
    record.template = template?.key ?? null;
    s.take(
      await deps.runtime.start(
        vmSpec(record, deps, s.addresses(), { image, disk, ...lent, runDir: s.runDir(), uid: s.uid(), from }),
        signal,
      ),
    );
  });
  s.set("starting", { origin: template ? (template.key === null ? "memory" : "template") : "boot" });
  await s.settle(await step("ready", () => s.becomeReady(signal)));
  undo.move();
}

/** All of them, to their ends, also where one fails: nothing is taken back that another still works on. */
async function together<T extends readonly unknown[]>(all: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const ended = await Promise.allSettled(all);
  const failed = ended.find((e) => e.status === "rejected");
  if (failed) throw failed.reason;
  return ended.map((e) => (e as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
