/** What a lane does with devices of its host: they are the machine's while it has a process. */
import { chownSync, existsSync } from "node:fs";
import { addressOf } from "#contract/resources/device.ts";
import type { Devices } from "#agent/host/devices.ts";
import type { Record } from "./record.ts";

type Deps = { record: Record; devices: Devices; save(): void };

/** Their addresses, with those of the other functions of their cards. Undone by releaseDevices. */
export function lendDevices({ record, devices, save }: Deps, uid: number): string[] {
  const wanted = record.desired.spec.devices.map(addressOf);
  if (!wanted.length) return [];
  const { addresses, groups } = devices.lend(wanted, (taken) => {
    record.devices = [...taken];
    save();
  });
  // The VMM is nobody: it opens its groups as itself.
  for (const group of groups) if (existsSync(`/dev/vfio/${group}`)) chownSync(`/dev/vfio/${group}`, uid, uid);
  return addresses;
}

export function releaseDevices({ record, devices, save }: Deps): void {
  if (!record.devices.length) return;
  devices.takeBack(record.devices);
  record.devices = [];
  save();
}
