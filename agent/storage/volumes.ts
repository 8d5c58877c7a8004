/**
 * A node's volumes. Like a machine, each has a document that says what it is to be, the newest of which counts, and a
 * record on disk of what it is; one thing at a time is done with it. A volume that is lent to a machine stays as it is,
 * but for growing and for snapshots.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { VolumeObserved } from "#contract/resources/volume.ts";
import { DesiredVolume } from "#contract/wire/agent.ts";
import { readOrNothing, writeFileDurably } from "#agent/host/files.ts";
import { dropImport, importArchive } from "./import.ts";
import { lend, lentPath, replayJournal, takeBack } from "./lend.ts";
import type { Storage } from "./storage.ts";

const Record = z.object({
  desired: DesiredVolume,
  /** No machine has had it, and nothing was put into it. */
  fresh: z.boolean(),
  ...VolumeObserved.pick({ state: true, reason: true, snapshots: true, restoredEpoch: true }).shape,
});
type Record = z.infer<typeof Record>;
/** Who has it: a machine, or "import". */
type Loans = Map<string, { readonly: boolean }>;
type Entry = { record: Record; loans: Loans; dirty: boolean; running: Promise<void> | undefined; replaying?: Promise<void> | undefined };
export type Volumes = ReturnType<typeof openVolumes>;
type Deps = {
  recordsDir: string;
  storage: Storage;
  /** For what exists only for a while. */
  workDir: string;
  /** Runs it while the file systems in that machine stand still, where it runs. */
  frozen<T>(machine: string, work: () => Promise<T>): Promise<T>;
  /** A volume that this machine has is larger now. */
  grown(machine: string): void;
  log(line: string): void;
};

/** So long one waits for a volume that somebody else still has, or that is not known yet. */
const LOAN_MS = 30_000;
const REMOVED_MAX = 1_000;

export function openVolumes(deps: Deps) {
  const { storage } = deps;
  const entries = new Map<string, Entry>();
  const removed = new Map<string, VolumeObserved>();
  const listeners = new Set<(id: string) => void>();
  let changes = Promise.withResolvers<void>();
  const recordPath = (id: string): string => `${deps.recordsDir}/${id}.json`;
  mkdirSync(deps.recordsDir, { recursive: true, mode: 0o700 });
  for (const file of readdirSync(deps.recordsDir)) {
    if (!file.endsWith(".json")) continue;
    const parsed = Record.safeParse(readOrNothing(`${deps.recordsDir}/${file}`));
    // What was being put into it when we were killed.
    if (parsed.success) dropImport(storage.diskPath(parsed.data.desired.id));
    if (parsed.success) entries.set(parsed.data.desired.id, { record: parsed.data, loans: new Map(), dirty: false, running: undefined });
    else deps.log(`The record of the volume ${file} cannot be read; its disk is kept.`);
  }

  function tell(id: string): void {
    for (const listener of listeners) listener(id);
    changes.resolve();
    changes = Promise.withResolvers();
  }

  function set(entry: Entry, more: Partial<Record>): void {
    Object.assign(entry.record, more);
    writeFileDurably(recordPath(entry.record.desired.id), JSON.stringify(entry.record));
    tell(entry.record.desired.id);
  }

  function wake(entry: Entry): void {
    entry.dirty = true;
    entry.running ??= loop(entry).finally(() => (entry.running = undefined));
  }

  async function loop(entry: Entry): Promise<void> {
    while (entry.dirty) {
      entry.dirty = false;
      await converge(entry).catch((thrown) => {
        const { message } = toHyperlaneError(thrown);
        deps.log(`volume ${entry.record.desired.id}: ${message}`);
        set(entry, { state: "failed", reason: message });
      });
    }
  }

  async function converge(entry: Entry): Promise<void> {
    const { record, loans } = entry;
    const { id, present, made, sizeMib, snapshots, restore } = record.desired;
    if (!present) return loans.size ? undefined : remove(id);
    const there = existsSync(storage.diskPath(id));
    if (!there && (made || record.state === "ready"))
      throw new HyperlaneError("NOT_FOUND", "Its disk is not on this node any more.", {
        hint: "Remove the volume, and restore it from elsewhere.",
      });
    if (!there) await storage.createDisk(id, sizeMib, 0);
    if (restore && record.restoredEpoch < restore.epoch) {
      if (loans.size) return;
      if (record.snapshots[restore.snapshot]?.state !== "ready")
        throw new HyperlaneError("NOT_FOUND", "The snapshot to restore is not on this node.");
      await storage.restore(id, restore.snapshot, 0);
      record.restoredEpoch = restore.epoch;
    }
    if (sizeOf(id) < sizeMib) {
      storage.grow(id, sizeMib);
      for (const machine of loans.keys()) deps.grown(machine);
    }
    for (const snapshot of Object.keys(record.snapshots)) if (!snapshots.includes(snapshot)) await dropSnapshot(record, snapshot);
    for (const snapshot of snapshots) if (!record.snapshots[snapshot]) await takeSnapshot(entry, snapshot);
    set(entry, { state: "ready", reason: null });
  }

  async function dropSnapshot(record: Record, snapshot: string): Promise<void> {
    await storage.removeSnapshot(record.desired.id, snapshot);
    const { [snapshot]: _, ...rest } = record.snapshots;
    record.snapshots = rest;
  }

  async function takeSnapshot({ record, loans }: Entry, snapshot: string): Promise<void> {
    const [writer] = [...loans].find(([, loan]) => !loan.readonly) ?? [];
    const take = () => storage.snapshot(record.desired.id, snapshot);
    const taken = await (writer === undefined ? take() : deps.frozen(writer, take)).then(
      (bytes) => ({ state: "ready" as const, bytes, reason: null }),
      (thrown) => ({ state: "failed" as const, bytes: 0, reason: toHyperlaneError(thrown).message }),
    );
    record.snapshots = { ...record.snapshots, [snapshot]: taken };
  }

  async function remove(id: string): Promise<void> {
    await storage.remove(id);
    rmSync(recordPath(id), { force: true });
    const last = { ...observed(entries.get(id)!), state: "absent" as const, snapshots: {}, bytes: 0, reason: null };
    entries.delete(id);
    remember(id, last);
  }

  function remember(id: string, last: VolumeObserved): void {
    removed.set(id, last);
    if (removed.size > REMOVED_MAX) removed.delete(removed.keys().next().value!);
    tell(id);
  }

  function sizeOf(id: string): number {
    // It may be changing places just now: a restore puts another in its place.
    return (statSync(storage.diskPath(id), { throwIfNoEntry: false })?.size ?? 0) / 2 ** 20;
  }

  function observed({ record }: Entry): VolumeObserved {
    const { desired, state, reason, snapshots, restoredEpoch } = record;
    const path = storage.diskPath(desired.id);
    // In whole MiB, or every look would be news.
    const bytes = Math.ceil(((statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512) / 2 ** 20) * 2 ** 20;
    return { state, revision: desired.revision, sizeMib: sizeOf(desired.id), bytes, reason, snapshots, restoredEpoch };
  }

  /** Until the volume is there and may be lent so. */
  async function available(id: string, readonly: boolean, signal: AbortSignal): Promise<Entry> {
    const timeout = Bun.sleep(LOAN_MS).then(() => "late" as const);
    let again = false;
    for (;;) {
      signal.throwIfAborted();
      const entry = entries.get(id);
      const shared = [...(entry?.loans.values() ?? [])].every((loan) => loan.readonly && readonly);
      if (entry?.record.state === "ready" && entry.record.desired.present && shared) return entry;
      if (entry?.record.state === "failed") {
        if (again) throw new HyperlaneError("FAILED", `Its volume ${id}: ${entry.record.reason}`);
        // What was in the way may be gone.
        again = true;
        wake(entry);
        await entry.running;
        continue;
      }
      const interrupted = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => interrupted.resolve());
      if ((await Promise.race([changes.promise, timeout, interrupted.promise])) === "late")
        throw new HyperlaneError(
          "TIMEOUT",
          `Its volume ${id} ${entry ? `is still used by ${[...entry.loans.keys()].join(", ")}` : "is not on this node"}.`,
        );
    }
  }

  return {
    apply(desired: DesiredVolume): void {
      const entry = entries.get(desired.id);
      if ((entry?.record.desired ?? removed.get(desired.id) ?? desired).revision > desired.revision) return;
      if (!entry && !desired.present) {
        const nothing = { sizeMib: 0, bytes: 0, reason: null, snapshots: {}, restoredEpoch: 0 };
        return remember(desired.id, { state: "absent", revision: desired.revision, ...nothing });
      }
      const record = entry?.record ?? { desired, fresh: true, state: "absent", reason: null, snapshots: {}, restoredEpoch: 0 };
      const next = entry ?? { record, loans: new Map(), dirty: false, running: undefined };
      next.record.desired = desired;
      entries.set(desired.id, next);
      wake(next);
    },
    /** Lends it to a machine, as soon as that can be; the path at which the machine's user opens it. */
    /** Where it is for a machine that has it. */
    lent: (id: string, machine: string): string => lentPath(storage.diskPath(id), machine),
    async lend(id: string, machine: string, uid: number, readonly: boolean, signal: AbortSignal): Promise<string> {
      const entry = await available(id, readonly, signal);
      entry.loans.set(machine, { readonly });
      const path = storage.diskPath(id);
      try {
        // Readers that come together wait for the one that puts it in order.
        if (readonly) await (entry.replaying ??= replayJournal(path).finally(() => (entry.replaying = undefined)));
        return lend(path, machine, uid, readonly);
      } catch (thrown) {
        this.takeBack(id, machine);
        throw thrown;
      }
    },
    /** A machine that runs on has it still. */
    adopt: (id: string, machine: string, readonly: boolean): void => void entries.get(id)?.loans.set(machine, { readonly }),
    takeBack(id: string, machine: string): void {
      const entry = entries.get(id);
      if (existsSync(storage.diskPath(id))) takeBack(storage.diskPath(id), machine);
      if (!entry?.loans.delete(machine)) return;
      tell(id);
      wake(entry);
    },
    async import(id: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
      const entry = await available(id, false, new AbortController().signal);
      entry.loans.set("import", { readonly: false });
      try {
        await importArchive(storage.diskPath(id), id, entry.record.desired.sizeMib, deps.workDir, archive);
        entry.record.fresh = false;
      } finally {
        this.takeBack(id, "import");
      }
    },
    isFresh: (id: string): boolean => entries.get(id)?.record.fresh ?? false,
    /** A machine that may write to it has come up with it. */
    use(id: string): void {
      const entry = entries.get(id);
      if (entry?.record.fresh) set(entry, { fresh: false });
    },
    sizeMib: sizeOf,
    observe: (id: string): VolumeObserved | undefined => (entries.has(id) ? observed(entries.get(id)!) : removed.get(id)),
    ids: (): string[] => [...entries.keys()],
    onChange(listener: (id: string) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
