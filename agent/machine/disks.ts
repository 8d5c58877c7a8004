/** What a lane does with a machine's disk: snapshots taken and dropped, one restored. Each is noted in the record as it is done. */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { commitLayer } from "#agent/images/commit.ts";
import type { Storage } from "#agent/storage/storage.ts";
import type { Record } from "./record.ts";

type Deps = {
  record: Record;
  storage: Storage;
  save(): void;
  /** Runs it while the file system inside stands still, so that what is kept is whole. */
  frozen<T>(work: () => Promise<T>): Promise<T>;
  /** Runs it while the whole machine stands still, and keeps its memory with the snapshot. */
  withMemory(snapshot: string, work: () => Promise<number>): Promise<number>;
  dropMemory(snapshot: string): void;
};

export async function restoreSnapshot(
  { record, storage, save }: Deps,
  to: { snapshot: string; epoch: number },
  uid: number,
): Promise<void> {
  if (record.snapshots[to.snapshot]?.state !== "ready")
    throw new HyperlaneError("NOT_FOUND", "The snapshot to restore is not on this node.");
  await storage.restore(record.desired.id, to.snapshot, uid);
  record.restoredEpoch = to.epoch;
  save();
}

export async function dropSnapshots({ record, storage, save, dropMemory }: Deps): Promise<void> {
  for (const snapshot of Object.keys(record.snapshots)) {
    if (record.desired.snapshots.includes(snapshot)) continue;
    await storage.removeSnapshot(record.desired.id, snapshot);
    dropMemory(snapshot);
    const { [snapshot]: _, ...rest } = record.snapshots;
    record.snapshots = rest;
    save();
  }
}

export async function takeSnapshots({ record, storage, save, frozen, withMemory }: Deps): Promise<void> {
  for (const snapshot of record.desired.snapshots) {
    if (record.snapshots[snapshot]) continue;
    const keep = (): Promise<number> => storage.snapshot(record.desired.id, snapshot);
    const taken = await (record.desired.withMemory.includes(snapshot) ? withMemory(snapshot, keep) : frozen(keep)).then(
      (bytes) => ({ state: "ready" as const, bytes, reason: null }),
      (thrown) => ({ state: "failed" as const, bytes: 0, reason: toHyperlaneError(thrown).message }),
    );
    record.snapshots = { ...record.snapshots, [snapshot]: taken };
    save();
  }
}

/** Its writable layer as an image layer, from a snapshot of its own, so that the machine runs on meanwhile. */
export async function* commitDisk({ record, storage, frozen }: Deps, work: string): AsyncGenerator<Uint8Array> {
  const { id } = record.desired;
  const snapshot = `commit-${crypto.randomUUID()}`;
  await frozen(() => storage.snapshot(id, snapshot));
  try {
    yield* commitLayer(`${work}/${snapshot}`, (to) => storage.exportSnapshot(id, snapshot, to));
  } finally {
    await storage.removeSnapshot(id, snapshot);
  }
}
