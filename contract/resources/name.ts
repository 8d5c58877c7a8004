/** Names and labels, of whatever has them. */
import { z } from "zod";

/** DNS label rules, since the name is also the host name `NAME.internal`. */
export const Name = z
  .string()
  .min(1, "must not be empty")
  .max(63, "must be at most 63 characters")
  .regex(/^[a-z]([a-z0-9-]*[a-z0-9])?$/, "must be lower-case letters, digits and dashes, begin with a letter and not end with a dash");

const labelKey = /^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$/;
export const Labels = z
  .record(
    z.string().regex(labelKey, "keys must be up to 63 lower-case letters, digits and ._/-"),
    z.string().max(255, "values must be at most 255 characters"),
  )
  .refine((labels) => Object.keys(labels).length <= 64, "must be at most 64 labels");
