/** What an agent remembers of a machine, in one file that survives it. Secrets are not part of it. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { z } from "zod";
import { Observed } from "#contract/resources/machine.ts";
import { Desired } from "#contract/wire/agent.ts";
import { readOrNothing, writeFileWhole } from "#agent/host/files.ts";

const Process = z.object({ pid: z.int(), startTime: z.int(), bootId: z.string() });

export const Record = z.object({
  desired: Desired,
  /** Of the last start; 0: never started. */
  epoch: z.int(),
  process: Process.nullable(),
  /** Its VMM's user, where that is not the one of its slot. */
  uid: z.int().nullable(),
  phase: Observed.shape.phase,
  exit: Observed.shape.exit,
  exitCode: Observed.shape.exitCode,
  reason: z.string().nullable(),
  steps: Observed.shape.steps,
  origin: Observed.shape.origin,
  /** The template it went on from; null: none. */
  template: z.string().nullable(),
  snapshots: Observed.shape.snapshots,
  restoredEpoch: z.int(),
  sleep: Observed.shape.sleep,
  /** Its way to another node, or from one. */
  move: Observed.shape.move,
  /** It has come from another node, and knows itself under the addresses of that. */
  readdress: z.boolean().default(false),
  /** While it sleeps: when it is to wake by itself, in ms since 1970. */
  wakeAt: z.int().nullable(),
  /** What was done to devices of the host for it, so that it can be undone. */
  devices: z.array(z.object({ address: z.string(), driver: z.string().nullable() })).default([]),
  /** Its places for volumes, in order, and its folders; none while it does not run. sizeMib: as the guest knows it. */
  places: z.array(
    z.object({ volume: z.string().nullable(), path: z.string(), readonly: z.boolean(), fresh: z.boolean(), sizeMib: z.number() }),
  ),
  folders: z.array(z.object({ path: z.string(), readonly: z.boolean() })),
  /** Why a volume that it should have is not there, or one that it should not have is; by volume. */
  mountReasons: z.record(z.string(), z.string()),
  /** Its disk is a copy of another machine's, whose ids are still in it. */
  copied: z.boolean(),
  /** Where in its logs the last start begins, in bytes. */
  logFrom: z.object({ console: z.int(), workload: z.int() }),
  /** The rung of the stopping ladder it stands on, and until when: a new agent goes on from there. */
  stopping: z.object({ rung: z.enum(["init", "button", "vmm", "kill"]), deadline: z.int() }).nullable(),
});
export type Record = z.infer<typeof Record>;

export function newRecord(desired: Desired): Record {
  return {
    desired: { ...desired, identity: null },
    epoch: 0,
    process: null,
    uid: null,
    copied: false,
    phase: "stopped",
    exit: null,
    exitCode: null,
    logFrom: { console: 0, workload: 0 },
    reason: null,
    steps: [],
    origin: null,
    template: null,
    snapshots: {},
    restoredEpoch: 0,
    sleep: { n: 0, refused: null },
    move: null,
    readdress: false,
    wakeAt: null,
    places: [],
    devices: [],
    folders: [],
    mountReasons: {},
    stopping: null,
  };
}

/** durable: also where the host loses its power; what is only true of a process goes with it. */
export function saveRecord(dir: string, record: Record, durable: boolean): void {
  mkdirSync(`${dir}/${record.desired.id}`, { recursive: true, mode: 0o711 });
  const text = JSON.stringify({ ...record, desired: { ...record.desired, identity: null } });
  writeFileWhole(`${dir}/${record.desired.id}/record.json`, text, 0o600, durable);
}

export function removeRecord(dir: string, id: string): void {
  rmSync(`${dir}/${id}`, { recursive: true, force: true });
}

/** A file that cannot be read is reported by its id, so that the machine is not taken for one that was never there. */
export function loadRecords(dir: string): { records: Record[]; unreadable: string[] } {
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  const records: Record[] = [];
  const unreadable: string[] = [];
  for (const id of readdirSync(dir)) {
    const parsed = Record.safeParse(readOrNothing(`${dir}/${id}/record.json`));
    if (parsed.success) records.push(parsed.data);
    else unreadable.push(id);
  }
  return { records, unreadable };
}
