/** What a template is made of. Two machines that agree in all of it can go on from the same one. Pure. */

import type { z } from "zod";
import type { TemplateShape } from "#contract/resources/template.ts";

/** What is the same for all machines of a node. A change of any makes its templates useless. */
export type Ground = {
  /** Of what templates look like: counted up by us. */
  format: 2;
  runtime: string;
  runtimeVersion: string;
  /** A digest of kernel and init. */
  kernel: string;
  accelerator: "kvm" | "tcg";
  cpuModel: string;
  tscKhz: number;
  /** Places for volumes. */
  places: number;
};

/**
 * system: null: a kernel that has booted, with init waiting to hear which machine it is: of any image. Else an image's
 * own system, all of it up, on a disk of this size.
 */
export type Shape = z.infer<typeof TemplateShape>;

/** A template's name: 24 hex digits of a digest over all it is made of. digest: SHA-256, as hex. */
export function keyOf(ground: Ground, shape: Shape, digest: (text: string) => string): string {
  const { format, runtime, runtimeVersion, kernel, accelerator, cpuModel, tscKhz, places } = ground;
  const { cpu, memoryMib, system } = shape;
  const inputs = [format, runtime, runtimeVersion, kernel, accelerator, cpuModel, tscKhz, places, cpu, memoryMib];
  if (system) inputs.push(system.rootfs, system.init, system.diskMib);
  return digest(JSON.stringify(inputs)).slice(0, 24);
}
