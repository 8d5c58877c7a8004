/** A device of a node that a machine can have for itself: on PCI, handed over by VFIO. */
import { z } from "zod";

/** Domain, bus, slot and function, as sysfs writes them. */
export const PciAddress = z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]$/, "must be a PCI address like 0000:01:00.0");

/** pci:0000:01:00.0; the domain may be left out, "pci:" as well. */
export const DeviceRef = z
  .string()
  .transform((text) => text.toLowerCase().replace(/^pci:/, ""))
  .transform((text) => (/^[0-9a-f]{2}:/.test(text) ? `0000:${text}` : text))
  .pipe(PciAddress)
  .transform((address) => refOf(address));

/** In the order in which they are asked for. */
export const DEVICE_KINDS = ["gpu", "accelerator", "network", "storage", "other"] as const;

/**
 * class, vendor, device: as the PCI ID database has them, in hex. driver: that has it now. group: of the IOMMU, whose devices only
 * go together; null: there is no IOMMU. unavailable: why no machine can have it; null: one can.
 */
export const Device = z.object({
  address: PciAddress,
  kind: z.enum(DEVICE_KINDS),
  class: z.string(),
  vendor: z.string(),
  device: z.string(),
  driver: z.string().nullable(),
  group: z.int().nullable(),
  unavailable: z.string().nullable(),
});
export type Device = z.infer<typeof Device>;

/** machine: the name of the one that has it. */
export const NodeDevice = Device.extend({ node: z.string(), machine: z.string().nullable() });
export type NodeDevice = z.infer<typeof NodeDevice>;

export function refOf(address: string): string {
  return `pci:${address}`;
}

export function addressOf(ref: string): string {
  return ref.replace(/^pci:/, "");
}
