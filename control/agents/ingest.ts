/** What an agent reports, as the events that are new in it. Pure. */
import type { Observation } from "#contract/wire/agent.ts";
import type { Observed } from "#contract/resources/machine.ts";
import type { NodeStatus } from "#contract/resources/other.ts";
import type { NewEvent, State, StoredMachine } from "#control/model/state.ts";

export function ingest(state: State, nodeId: string, observation: Observation): { events: NewEvent[]; orphans: string[] } {
  const events: NewEvent[] = [];
  const orphans: string[] = [];
  const actor = `node:${nodeId}`;
  const node = state.node.get(nodeId);
  if (!node) return { events, orphans };
  if (observation.status && !node.connected)
    events.push({ type: "v1.NodeConnected", subject: nodeId, actor, data: { status: observation.status } });
  else if (observation.status && changed(node.status, observation.status))
    events.push({ type: "v1.NodeObserved", subject: nodeId, actor, data: { status: observation.status } });
  const seen = new Set<string>();
  for (const { id, observed } of observation.machines) {
    seen.add(id);
    const machine = state.machine.get(id);
    if (machine?.migration?.to === nodeId) {
      const { n, seen } = machine.migration;
      if (observed.move?.n === n && JSON.stringify(observed.move) !== JSON.stringify(seen))
        events.push({ type: "v1.MachineArriving", subject: id, actor, data: { seen: observed.move } });
    } else if (!machine || machine.node !== nodeId) {
      if (observed.phase !== "absent") orphans.push(id);
    } else if (!waits(machine, observed) && isNews(machine.observed, observed))
      events.push({ type: "v1.MachineObserved", subject: id, actor, data: { observed } });
  }
  if (observation.full)
    for (const machine of state.machine.values())
      if (machine.node === nodeId && machine.observed && !seen.has(machine.id) && !isKnownGone(machine, machine.observed))
        events.push({ type: "v1.MachineObserved", subject: machine.id, actor, data: { observed: gone(machine.observed) } });
  if (observation.full)
    for (const { id, migration } of state.machine.values())
      if (migration?.to === nodeId && migration.seen && migration.seen.stage !== "failed" && !seen.has(id)) {
        const gone = { n: migration.n, stage: "failed" as const, reason: "the node that it came to no longer has it" };
        events.push({ type: "v1.MachineArriving", subject: id, actor, data: { seen: gone } });
      }
  events.push(...volumes(state, nodeId, actor, observation));
  return { events, orphans };
}

/** A volume that nobody knows is left where it is: what it holds may be all that is left of something. */
function volumes(state: State, nodeId: string, actor: string, observation: Observation): NewEvent[] {
  const events: NewEvent[] = [];
  const seen = new Set<string>();
  for (const { id, observed } of observation.volumes) {
    seen.add(id);
    const volume = state.volume.get(id);
    if (volume?.node === nodeId && JSON.stringify(volume.observed) !== JSON.stringify(observed))
      events.push({ type: "v1.VolumeObserved", subject: id, actor, data: { observed } });
  }
  if (!observation.full) return events;
  for (const { id, node, observed: before } of state.volume.values()) {
    if (node !== nodeId || !before || before.state === "absent" || seen.has(id)) continue;
    const observed = { ...before, state: "failed" as const, revision: 0, reason: "its node no longer has it", snapshots: {} };
    if (before.revision !== 0) events.push({ type: "v1.VolumeObserved", subject: id, actor, data: { observed } });
  }
  return events;
}

/** The removal that was asked for is reported already, or that the node lost it: saying it again must not take that back. */
function isKnownGone(machine: StoredMachine, observed: Observed): boolean {
  return observed.phase === "absent" && (observed.revision === 0 || machine.destroying);
}

/** It has come, and stands still there until that node hears that it is the machine now; what was seen of it last holds until then. */
function waits({ moved }: StoredMachine, { move }: Observed): boolean {
  return move !== null && move.stage === "done" && move.n === moved?.n;
}

/** What comes last is what is so, even where its revision is lower: a node may lose what it knew, and is then told again. */
function isNews(before: Observed | null, after: Observed): boolean {
  return JSON.stringify(before) !== JSON.stringify(after);
}

/** The agent knows nothing of it, so it must be told again from the start: revision 0. */
function gone(before: Observed): Observed {
  return {
    ...before,
    phase: "absent",
    revision: 0,
    pid: null,
    exit: null,
    exitCode: null,
    health: null,
    reason: "its node no longer has it",
    snapshots: {},
    volumes: {},
  };
}

/** Free space moves all the time: a step of 1 % of the disk is news. */
function changed(before: NodeStatus | null, after: NodeStatus): boolean {
  if (!before) return true;
  const near = Math.abs(before.diskFreeMib - after.diskFreeMib) < after.diskMib / 100;
  return JSON.stringify(near ? { ...after, diskFreeMib: before.diskFreeMib } : after) !== JSON.stringify(before);
}
