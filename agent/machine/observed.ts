/** What an agent reports of a machine, from what it remembers of it. */
import type { Observed } from "#contract/resources/machine.ts";
import type { Addresses } from "#agent/network/plan.ts";
import { observedVolumes } from "./mounts.ts";
import type { Record } from "./record.ts";

/** accelerator: of its VMM, while it has one. health: what its health check says, where it has one. */
export function observedOf(
  record: Record,
  { address4, address6 }: Addresses,
  { accelerator, health, revision }: Pick<Observed, "accelerator" | "health" | "revision">,
): Observed {
  const { phase, epoch, exit, exitCode, reason, steps, origin, snapshots, restoredEpoch, sleep, move } = record;
  const has = phase !== "absent";
  return {
    ...{ phase, revision, epoch, exit, exitCode, reason, steps, origin, snapshots, restoredEpoch, sleep, move },
    health: phase === "running" || phase === "paused" ? health : null,
    pid: record.process?.pid ?? null,
    address6: has ? address6 : null,
    address4: has ? address4 : null,
    accelerator: record.process ? accelerator : null,
    volumes: observedVolumes(record),
  };
}
