/** What a message of the watch stream changes in what was read before. Pure. */
import type { Machine } from "#contract/resources/machine.ts";
import type { Changes, Event } from "#contract/resources/other.ts";
import { eventName } from "#contract/resources/words.ts";

export type Machines = ReadonlyMap<string, Machine>;

/** Machines by id, with what changed; the same map where nothing did. */
export function applyMachines(before: Machines, { machines, gone }: Pick<Changes, "machines" | "gone">): Machines {
  const leaving = gone.filter((id) => before.has(id));
  if (!machines.length && !leaving.length) return before;
  const after = new Map(before);
  for (const machine of machines) after.set(machine.id, machine);
  for (const id of leaving) after.delete(id);
  return after;
}

/** Two messages as one: what the later says counts. */
export function join(first: Changes, second: Changes): Changes {
  const gone = new Set([...first.gone, ...second.gone]);
  const machines = new Map([...first.machines, ...second.machines].map((m) => [m.id, m]));
  for (const { id } of second.machines) gone.delete(id);
  for (const id of second.gone) machines.delete(id);
  return {
    seq: second.seq,
    events: [...first.events, ...second.events],
    machines: [...machines.values()],
    gone: [...gone],
    ...((first.reset || second.reset) && { reset: true as const }),
  };
}

/** Kinds of query, by the first word of their keys, and what makes them old. Machines come with the stream itself. */
const OLD: [kind: string, events: RegExp][] = [
  ["nodes", /^Node|^Template/],
  ["templates", /^Template|^NodeObserved/],
  ["devices", /^Node|^Machine(Requested|Destroyed|Placed)/],
  ["runtimes", /^Node(Connected|Lost)/],
  ["images", /^Image/],
  ["volumes", /^Volume|^Machine(Mounted|Unmounted|Requested|Destroyed|Renamed)|^Snapshot/],
  ["networks", /^Network|^Machine(Joined|Left|Requested|Destroyed|Renamed|Placed)/],
  ["snapshots", /^Snapshot|^MachineRestoreRequested|^VolumeRestoreRequested/],
  ["tokens", /^Token/],
  ["sessions", /^Session|^TokenRemoved/],
];

/** Which kinds these events made old. */
export function agedBy(events: readonly Pick<Event, "type">[]): string[] {
  const types = new Set(events.map((e) => eventName(e.type)));
  return OLD.flatMap(([kind, made]) => ([...types].some((t) => made.test(t)) ? [kind] : []));
}
