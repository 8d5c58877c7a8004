/** Templates: machines saved when they had booted and were nobody yet, from which others go on in milliseconds. */
import { z } from "zod";
import { ImageRef } from "./image.ts";
import { MachineSpec } from "./machine.ts";

/** rootfs: of the image whose whole system it holds; null: it holds a kernel, and serves every image. diskMib: null likewise. */
export const TemplateStatus = z.object({
  key: z.string(),
  state: z.enum(["ready", "building", "waiting", "failed"]),
  rootfs: z.string().nullable(),
  cpu: z.int(),
  memoryMib: z.int(),
  diskMib: z.int().nullable(),
  bytes: z.number(),
  createdAt: z.number(),
  /** Machines that have gone on from it already, and stand still until somebody needs one. */
  spares: z.int(),
  /** Why it could not be made. */
  reason: z.string().nullable(),
});
export type TemplateStatus = z.infer<typeof TemplateStatus>;

/** What a template is of, as TemplateStatus says it. init: the image's own. */
export const TemplateShape = z.object({
  cpu: z.int(),
  memoryMib: z.int(),
  system: z.object({ rootfs: z.string(), init: z.string(), diskMib: z.int() }).nullable(),
});

/** image: by name, where one has it. */
export const Template = TemplateStatus.extend({ node: z.string(), image: z.string().nullable() });
export type Template = z.infer<typeof Template>;

/** node: null for every node that is there. */
export const TemplateBuild = z.strictObject({
  image: ImageRef,
  cpu: MachineSpec.shape.cpu,
  memoryMib: MachineSpec.shape.memoryMib,
  diskMib: MachineSpec.shape.diskMib,
  node: z.string().nullable().default(null),
});
