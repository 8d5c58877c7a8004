/** Networks: which machines reach each other. All machines have addresses of one plan; a network is who hears whom. */
import { z } from "zod";
import { Labels, Name } from "./name.ts";

/** The network that is always there, and that a machine is in unless it says otherwise. */
export const DEFAULT_NETWORK = "default";
export const DEFAULT_NUMBER = 1;

/** A machine's place in a network. aliases: names that lead to it there, beside its own; machines may share one. */
export const Membership = z.strictObject({ network: Name, aliases: z.array(Name).max(32).default([]) });
export type Membership = z.infer<typeof Membership>;

/** None: it reaches nobody, and nobody it. */
export const Memberships = z
  .array(Membership)
  .max(16, "must be at most 16 networks")
  .refine((list) => new Set(list.map((m) => m.network)).size === list.length, "must not name a network twice")
  .default([{ network: DEFAULT_NETWORK, aliases: [] }]);

/** internal: no way out of it. number: tells networks apart on the nodes. */
export const Network = z.object({
  id: z.string(),
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  internal: z.boolean(),
  number: z.int(),
  machines: z.array(
    z.object({ machine: z.string(), address4: z.string().nullable(), address6: z.string().nullable(), aliases: z.array(z.string()) }),
  ),
  createdAt: z.int(),
});
export type Network = z.infer<typeof Network>;

export const NetworkCreate = z.strictObject({ name: Name, internal: z.boolean().default(false), labels: Labels.default({}) });
