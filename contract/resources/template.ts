/** Templates: machines saved when they had booted and were nobody yet, from which others go on in milliseconds. */
import { z } from "zod";

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
  usedAt: z.number(),
  /** Why it could not be made. */
  reason: z.string().nullable(),
});
export type TemplateStatus = z.infer<typeof TemplateStatus>;
