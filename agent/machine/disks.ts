/** What a lane does with a machine's disk: snapshots taken and dropped, one restored, images made. Each is noted in the record as it is done. */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Images } from "#agent/images/store.ts";
import type { Storage } from "#agent/storage/storage.ts";
import type { Record } from "./record.ts";

type Deps = {
  record: Record;
  storage: Storage;
  images: Images;
  save(): void;
  /** Runs it while the file system inside stands still, so that what is kept is whole. */
  frozen<T>(work: () => Promise<T>): Promise<T>;
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

export async function dropSnapshots({ record, storage, save }: Deps): Promise<void> {
  for (const snapshot of Object.keys(record.snapshots)) {
    if (record.desired.snapshots.includes(snapshot)) continue;
    await storage.removeSnapshot(record.desired.id, snapshot);
    const { [snapshot]: _, ...rest } = record.snapshots;
    record.snapshots = rest;
    save();
  }
}

export async function takeSnapshots({ record, storage, save, frozen }: Deps): Promise<void> {
  for (const snapshot of record.desired.snapshots) {
    if (record.snapshots[snapshot]) continue;
    const taken = await frozen(() => storage.snapshot(record.desired.id, snapshot)).then(
      (bytes) => ({ state: "ready" as const, bytes, reason: null }),
      (thrown) => ({ state: "failed" as const, bytes: 0, reason: toHyperlaneError(thrown).message }),
    );
    record.snapshots = { ...record.snapshots, [snapshot]: taken };
    save();
  }
}

export async function makeImages(deps: Deps): Promise<void> {
  const { record, save } = deps;
  for (const image of record.desired.images) {
    if (record.images[image.id]) continue;
    const made = await makeImage(deps, image).then(
      (done) => ({ state: "ready" as const, ...done, reason: null }),
      (thrown) => ({ state: "failed" as const, digest: "", bytes: 0, reason: toHyperlaneError(thrown).message }),
    );
    record.images = { ...record.images, [image.id]: made };
    save();
  }
}

/** From a snapshot of its own, so that the machine runs on meanwhile. */
async function makeImage(
  { record, storage, images, frozen }: Deps,
  image: { id: string; name: string },
): Promise<{ digest: string; bytes: number }> {
  const { id, spec } = record.desired;
  const snapshot = `image-${image.id}`;
  await frozen(() => storage.snapshot(id, snapshot));
  try {
    return await images.fromDisk(image.name, await images.path(spec.image), storage, id, snapshot);
  } finally {
    await storage.removeSnapshot(id, snapshot);
  }
}
