/**
 * Devices of this host that machines may have: found in sysfs, handed to vfio-pci and given back to the driver that had them
 * (kernel docs, driver-api/vfio.rst). Devices of one IOMMU group can reach each other past the IOMMU, so they go together or not
 * at all; the functions of one card are taken together.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import type { Device, DEVICE_KINDS } from "#contract/resources/device.ts";

/** What was done to a device, so that it can be undone. driver: that had it before. */
export type Taken = { address: string; driver: string | null };
/** write: to a file of sysfs. */
type Doors = { root?: string; write?(path: string, text: string): void };
export type Devices = ReturnType<typeof openDevices>;

const VFIO = "vfio-pci";
const BRIDGE = "06";
/** By the first byte of the class: pci-ids, "List of known device classes". */
const KINDS: Record<string, (typeof DEVICE_KINDS)[number]> = { "03": "gpu", "12": "accelerator", "02": "network", "01": "storage" };

export function openDevices({ root = "/sys", write = writeFileSync }: Doors = {}) {
  const bus = `${root}/bus/pci`;
  const at = (address: string): string => `${bus}/devices/${address}`;
  const read = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8").trim() : "");
  const link = (path: string): string | null => (existsSync(path) ? basename(readlinkSync(path)) : null);
  const driverOf = (address: string): string | null => link(`${at(address)}/driver`);
  const groupOf = (address: string): number | null => {
    const name = link(`${at(address)}/iommu_group`);
    return name === null ? null : Number(name);
  };
  const hex = (address: string, file: string): string => read(`${at(address)}/${file}`).replace(/^0x/, "");
  const isBridge = (address: string): boolean => hex(address, "class").startsWith(BRIDGE);
  const addresses = (): string[] => (existsSync(`${bus}/devices`) ? readdirSync(`${bus}/devices`).sort() : []);

  /** All but bridges, each with its group. */
  const grouped = (): { address: string; group: number | null }[] =>
    addresses().flatMap((address) => (isBridge(address) ? [] : [{ address, group: groupOf(address) }]));

  /** The others of its group, which go where it goes. */
  function mates(address: string, all = grouped()): string[] {
    const group = groupOf(address);
    return group === null ? [] : all.flatMap((d) => (d.address !== address && d.group === group ? [d.address] : []));
  }

  function unavailable(address: string, all = grouped()): string | null {
    const group = groupOf(address);
    if (group === null) return "this host has no IOMMU, or it is off (intel_iommu=on or amd_iommu=on, and in the firmware)";
    const strangers = mates(address, all).filter((a) => slotOf(a) !== slotOf(address));
    return strangers.length ? `its IOMMU group ${group} is shared with ${strangers.join(", ")}` : null;
  }

  /** Whatever of it has a driver that is not vfio-pci gets that; what was done is told before it is done. */
  function take(address: string, note: (taken: Taken) => void): void {
    const driver = driverOf(address);
    if (driver === VFIO) return;
    note({ address, driver });
    write(`${at(address)}/driver_override`, VFIO);
    if (driver !== null) write(`${at(address)}/driver/unbind`, address);
    write(`${bus}/drivers_probe`, address);
    if (driverOf(address) !== VFIO)
      throw new HyperlaneError(
        "FAILED",
        `${address} cannot be handed to ${VFIO}${driver === null ? "" : `, and goes back to ${driver}`}.`,
        {
          hint: `Is the module there? modprobe ${VFIO}`,
        },
      );
  }

  /** Back to whoever had it. */
  function giveBack({ address, driver }: Taken): void {
    if (!existsSync(at(address))) return;
    // A line end alone is no name: any driver may have it.
    write(`${at(address)}/driver_override`, "\n");
    if (driverOf(address) === driver) return;
    if (driverOf(address) !== null) write(`${at(address)}/driver/unbind`, address);
    if (driver !== null) write(`${bus}/drivers_probe`, address);
  }

  return {
    list(): Device[] {
      const all = grouped();
      return all.map(({ address, group }) => {
        const type = hex(address, "class");
        const kind = KINDS[type.slice(0, 2)] ?? "other";
        const ids = { class: type, vendor: hex(address, "vendor"), device: hex(address, "device") };
        return { address, kind, ...ids, driver: driverOf(address), group, unavailable: unavailable(address, all) };
      });
    },
    /**
     * For a machine: all functions of their cards. Nothing is taken where one cannot be. note: what was done so far, to be kept
     * before more is. The groups whose files (/dev/vfio/GROUP) the VMM opens.
     */
    lend(wanted: readonly string[], note: (taken: readonly Taken[]) => void): { addresses: string[]; groups: number[] } {
      for (const address of wanted) {
        const why = existsSync(at(address)) ? unavailable(address) : "there is no such device";
        if (why !== null) throw new HyperlaneError("UNSUPPORTED", `${address} cannot be handed to a machine: ${why}.`);
      }
      const all = [...new Set(wanted.flatMap((a) => [a, ...mates(a)]))].sort();
      const taken: Taken[] = [];
      try {
        for (const address of all) take(address, (t) => (taken.push(t), note([...taken])));
      } catch (thrown) {
        for (const t of taken.reverse()) giveBack(t);
        note([]);
        throw thrown;
      }
      return { addresses: all, groups: [...new Set(all.map((a) => groupOf(a)!))] };
    },
    takeBack(taken: readonly Taken[]): void {
      for (const t of [...taken].reverse()) giveBack(t);
    },
  };
}

function slotOf(address: string): string {
  return address.slice(0, address.lastIndexOf("."));
}
