/**
 * What a lane does with a machine's mounts. A machine is born with places for volumes: one for each it starts with, and
 * a few to spare, so that a volume to write to can come while it runs. The record says what is in which place.
 */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { Desired } from "#contract/wire/agent.ts";
import { volumeRecords } from "#contract/wire/config.ts";
import { F } from "#contract/wire/messages.ts";
import type { Channel } from "#agent/guest/channel.ts";
import type { Folders } from "#agent/host/folders.ts";
import type { Volumes } from "#agent/storage/volumes.ts";
import { capabilitiesOf } from "#runtimes/capabilities.ts";
import type { Vm, VmSpec } from "#runtimes/driver.ts";
import type { Record } from "./record.ts";

/** As many as every machine has, so that all can go on from the same template; with more volumes than that, as many as those. */
export const PLACES = 5;
const GUEST_MS = 20_000;
const EBUSY = 16;

const FREE: Place = { volume: null, path: "", readonly: false, fresh: false, sizeMib: 0 };

type Deps = { record: Record; volumes: Volumes; folders: Folders; save(): void };
type Place = Record["places"][number];
type Asked = Desired["mounts"][number];

/** Lends what the machine starts with. Undone by releaseMounts. */
export async function lendMounts(deps: Deps, uid: number, signal: AbortSignal): Promise<Pick<VmSpec, "volumes" | "folders">> {
  const { record, volumes, folders, save } = deps;
  const { id, mounts } = record.desired;
  record.places = [];
  record.folders = [];
  const files: VmSpec["volumes"] = [];
  const sources: VmSpec["folders"] = [];
  for (const { volume, folder, path, readonly } of mounts) {
    if (volume !== null) {
      files.push({ file: await volumes.lend(volume, id, uid, readonly, signal), readonly });
      record.places.push(filled(volumes, { volume, path, readonly }));
    } else if (folder !== null) {
      sources.push({ source: await folders.open(id, sources.length, folder, readonly), readonly });
      record.folders.push({ path, readonly });
    }
    save();
  }
  while (files.length < PLACES) {
    files.push({ file: null, readonly: false });
    record.places.push({ ...FREE });
  }
  return { volumes: files, folders: sources };
}

function filled(volumes: Volumes, { volume, path, readonly }: { volume: string; path: string; readonly: boolean }): Place {
  return { volume, path, readonly, fresh: volumes.isFresh(volume), sizeMib: volumes.sizeMib(volume) };
}

export async function releaseMounts({ record, volumes, folders }: Deps): Promise<void> {
  for (const { volume } of record.places) if (volume !== null) volumes.takeBack(volume, record.desired.id);
  if (record.folders.length) await folders.close(record.desired.id);
  record.places = [];
  record.folders = [];
}

/** What init is told, as guest/volume.c reads it: folders first. */
export function mountTexts({ places, folders }: Pick<Record, "places" | "folders">): string[] {
  return [
    ...folders.map(({ path, readonly }, i) => `${String.fromCharCode(65 + i)}${readonly ? 1 : 0}${path}`),
    ...places.flatMap((place, i) => (place.volume === null ? [] : [textOf(place, i)])),
  ];
}

/** A volume that no machine has had is filled with what the image has there. */
function textOf({ path, readonly, fresh, sizeMib }: Place, i: number): string {
  return `${String.fromCharCode(99 + i)}${readonly ? 1 : fresh ? 2 : 0}${Math.floor(sizeMib)}${path}`;
}

/** The machine has come up with its volumes. */
export function noteUse({ record, volumes }: Pick<Deps, "record" | "volumes">): void {
  for (const { volume, readonly } of record.places) if (volume !== null && !readonly) volumes.use(volume);
}

/** Brings a running machine's volumes to what is asked for, as far as that can be while it runs; false: some are to be tried again. */
export async function convergeMounts(deps: Deps, vm: Vm, channel: Channel, uid: number, signal: AbortSignal): Promise<boolean> {
  const { record } = deps;
  const before = JSON.stringify([record.places, record.mountReasons]);
  const reasons: Record["mountReasons"] = {};
  const attempt = async (volume: string, work: () => Promise<void>): Promise<void> =>
    work().catch((thrown) => {
      signal.throwIfAborted();
      reasons[volume] = toHyperlaneError(thrown).message;
    });
  for (const [i, place] of record.places.entries()) {
    const { volume } = place;
    if (volume === null) continue;
    if (!record.desired.mounts.some((m) => isIn(m, place))) await attempt(volume, () => detach(deps, vm, channel, i));
    else if (deps.volumes.sizeMib(volume) > place.sizeMib) await attempt(volume, () => grow(deps, vm, channel, i));
  }
  for (const asked of record.desired.mounts) {
    const { volume } = asked;
    if (volume === null || record.places.some((place) => isIn(asked, place))) continue;
    await attempt(volume, () => attach(deps, vm, channel, { ...asked, volume }, uid, signal));
  }
  record.mountReasons = reasons;
  if (JSON.stringify([record.places, reasons]) !== before) deps.save();
  return Object.keys(reasons).length === 0;
}

function isIn(asked: Asked, place: Place): boolean {
  return place.volume === asked.volume && place.path === asked.path && place.readonly === asked.readonly;
}

function canWhileItRuns({ desired }: Record): boolean {
  return capabilitiesOf(desired.spec.runtime).diskHotplug;
}

async function attach(
  { record, volumes, save }: Deps,
  vm: Vm,
  channel: Channel,
  { volume, path, readonly }: Asked & { volume: string },
  uid: number,
  signal: AbortSignal,
): Promise<void> {
  const { id, name } = record.desired;
  const at = canWhileItRuns(record) ? record.places.findIndex((p) => p.volume === null && !p.readonly) : -1;
  if (readonly || at < 0)
    throw new HyperlaneError(
      "STATE",
      `${readonly ? "A volume to be read only" : "One volume more, while the machine runs,"} is there after the next start: vps restart ${name}`,
    );
  const file = await volumes.lend(volume, id, uid, false, signal);
  const place = (record.places[at] = filled(volumes, { volume, path, readonly }));
  save();
  try {
    await vm.insertVolume(at, file);
    await channel.ask(F.CONFIG, volumeRecords({ mounts: [textOf(place, at)], unmounts: [] }), GUEST_MS);
    volumes.use(volume);
  } catch (thrown) {
    await vm.removeVolume(at, readonly).catch(() => {});
    record.places[at] = { ...FREE };
    volumes.takeBack(volume, id);
    save();
    throw thrown;
  }
}

async function detach({ record, volumes, save }: Deps, vm: Vm, channel: Channel, at: number): Promise<void> {
  const place = record.places[at]!;
  if (!canWhileItRuns(record))
    throw new HyperlaneError("STATE", `It keeps ${place.path} until its next start: vps restart ${record.desired.name}`);
  await channel
    .ask(F.CONFIG, volumeRecords({ mounts: [], unmounts: [textOf(place, at)] }), GUEST_MS)
    .catch((thrown: { errno?: number }) => {
      if (thrown.errno !== EBUSY) throw thrown;
      throw new HyperlaneError("STATE", `Something in the machine uses ${place.path}: end it, or vps stop ${record.desired.name}`);
    });
  await vm.removeVolume(at, place.readonly);
  const volume = place.volume!;
  // A place that can only be read has told its guest a size for life.
  record.places[at] = { ...FREE, readonly: place.readonly };
  volumes.takeBack(volume, record.desired.id);
  save();
}

async function grow({ record, volumes, save }: Deps, vm: Vm, channel: Channel, at: number): Promise<void> {
  const place = record.places[at]!;
  const sizeMib = volumes.sizeMib(place.volume!);
  if (!canWhileItRuns(record))
    throw new HyperlaneError("STATE", `It sees the new size after its next start: vps restart ${record.desired.name}`);
  if (!place.readonly) {
    await vm.growVolume(at, sizeMib * 2 ** 20);
    await channel.ask(F.CONFIG, volumeRecords({ mounts: [textOf({ ...place, sizeMib }, at)], unmounts: [] }), GUEST_MS);
  }
  record.places[at] = { ...place, sizeMib };
  save();
}

/** By volume: those it has, and those it should have. */
export function observedVolumes({ places, mountReasons, desired }: Record): Observed["volumes"] {
  const seen: Observed["volumes"] = {};
  for (const { volume } of desired.mounts) if (volume !== null) seen[volume] = { attached: false, reason: mountReasons[volume] ?? null };
  for (const { volume } of places) if (volume !== null) seen[volume] = { attached: true, reason: mountReasons[volume] ?? null };
  return seen;
}
