/** What is desired of a machine beside what its node last saw of it. Pure. */
import type { Machine, Observed } from "#contract/resources/machine.ts";
import { restartsMost } from "#contract/resources/restart.ts";

/** same: null where there is nothing to compare. */
export type Compared = { what: string; desired: string; seen: string; same: boolean | null; why?: string };

type Snapshots = readonly { id: string; name: string; state: string }[];

function row(what: string, desired: string, seen: string, same: boolean | null, why?: string | null): Compared {
  return { what, desired, seen, same, ...(why && { why }) };
}

/** volumeNames: by id. snapshots: those that are to be there. */
export function compare(m: Machine, volumeNames: ReadonlyMap<string, string>, snapshots: Snapshots): Compared[] {
  const seen = m.observed;
  if (!seen) return [row("Power", m.destroying ? "gone" : m.power, "nothing yet", false, m.reason)];
  return [
    ...compareRun(m, seen),
    ...compareParts(m, seen, volumeNames, snapshots),
    ...(m.restore
      ? [
          row(
            "Roll back",
            `no. ${m.restore.epoch}`,
            seen.restoredEpoch ? `no. ${seen.restoredEpoch}` : "none",
            seen.restoredEpoch >= m.restore.epoch,
          ),
        ]
      : []),
    ...(seen.health === null ? [] : [row("Health", "healthy", seen.health, seen.health === "healthy")]),
    ...(seen.sleep.refused === null ? [] : [row("Standby", "asleep", seen.phase, false, seen.sleep.refused)]),
  ];
}

function compareRun(m: Machine, seen: Observed): Compared[] {
  const wanted = m.destroying ? "absent" : m.power;
  const rests = m.power === "running" && (seen.phase === "standby" || (seen.phase === "exited" && m.state === "stopped"));
  const most = restartsMost(m.spec.restart);
  const behind = seen.revision < m.revision;
  return [
    row("Power", m.destroying ? "gone" : m.power, seen.phase, seen.phase === wanted || rests, seen.reason),
    row("Revision", String(m.revision), String(seen.revision), !behind, behind ? "its node has not heard of the last change yet" : null),
    row(
      "Start",
      `no. ${m.epoch}`,
      `no. ${seen.epoch}`,
      seen.epoch === m.epoch,
      m.retryAt === null ? null : `tried again at ${clock(m.retryAt)} UTC`,
    ),
    row(
      "Spec",
      m.needsRestart ? "changed" : "as started",
      "as started",
      !m.needsRestart,
      m.needsRestart ? "it was started before the last change: restart it" : null,
    ),
    row("Restarts", m.spec.restart, m.attempt === 0 ? "none needed" : `${m.attempt} tried`, most === undefined ? null : m.attempt <= most),
  ];
}

function compareParts(m: Machine, seen: Observed, volumeNames: ReadonlyMap<string, string>, snapshots: Snapshots): Compared[] {
  const off = ["stopped", "exited", "standby"].includes(seen.phase);
  const volumes = m.spec.mounts.flatMap(({ volume, path }) => {
    if (volume === null) return [];
    const [, at] = Object.entries(seen.volumes).find(([id]) => volumeNames.get(id) === volume) ?? [];
    const attached = at?.attached === true;
    return [row(`Volume ${volume}`, `at ${path}`, attached ? "attached" : "not attached", attached || (off ? null : false), at?.reason)];
  });
  const kept = snapshots
    .filter((s) => s.state !== "removing")
    .map(({ id, name }) => {
      const at = seen.snapshots[id];
      return row(`Snapshot ${name}`, "kept", at?.state ?? "not yet", at?.state === "ready", at?.reason);
    });
  return [...volumes, ...kept];
}

function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}
