/** Operations that bring a running machine to another node. What would be left behind, or would not go on there, is refused. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Node } from "#contract/resources/other.ts";
import { place, usageByNode } from "#control/schedule/place.ts";
import type { State, StoredMachine } from "#control/model/state.ts";
import { demandAbility } from "./capabilities.ts";
import { demand, machineOf, view, type Handlers } from "./handler.ts";
import { checkPort } from "./machines.ts";
import { nodeOf } from "./nodes.ts";

export const moveHandlers: Pick<Handlers, "migrateMachine" | "cancelMigration"> = {
  migrateMachine({ store }, { params, body, token }) {
    const { state } = store;
    const machine = machineOf(state, params);
    const to = body.to === null ? null : nodeOf(state, body.to);
    const result = () => view(state.machine.get(machine.id)!);
    if (to && (machine.migration?.to ?? machine.node) === to.id) return { events: [], result };
    demand(machine, "migrate");
    demandAbility(machine, "moving");
    checkLeavesNothing(state, machine);
    const from = state.node.get(machine.node!)!;
    const nodes = (to ? [to] : [...state.node.values()]).filter((n) => n.id !== from.id);
    if (!nodes.length)
      throw new HyperlaneError("NO_CAPACITY", "There is no other node.", { hint: "Enrol one: vps node add NAME --address HOST:7421" });
    const able = nodes.filter((n) => goesOnAt(from, n));
    if (!able.length)
      throw new HyperlaneError(
        "UNSUPPORTED",
        `"${machine.name}" would not go on there: ${nodes.map((n) => n.name).join(", ")} ${nodes.length === 1 ? "has" : "have"} another QEMU or other CPUs than ${from.name}.`,
        {
          hint: "Stop it there and start it anew here: a snapshot's image can be made a machine anywhere (`vps image create`).",
        },
      );
    const found = place(machine.spec, able, usageByNode(state.machine.values(), state.volume.values()), machine.slot);
    if ("reason" in found) throw new HyperlaneError("NO_CAPACITY", found.reason);
    for (const exposure of machine.exposures) checkPort(state, exposure, { ...machine, node: found.node });
    const data = { to: found.node, slot: found.slot };
    return { events: [{ type: "v1.MachineMigrationRequested", subject: machine.id, actor: token.id, data }], result };
  },
  /** One that has arrived already has gone. */
  cancelMigration({ store }, { params, token }) {
    const machine = machineOf(store.state, params);
    const data = { reason: "somebody left it where it was" };
    return {
      events: machine.migration ? [{ type: "v1.MachineMigrationEnded", subject: machine.id, actor: token.id, data }] : [],
      result: () => view(store.state.machine.get(machine.id)!),
    };
  },
};

function goesOnAt(from: Node, to: Node): boolean {
  // Whether it is there at all is another question.
  return to.status === null || from.status?.compatibility === to.status.compatibility;
}

/** Its disk and its RAM come along; what else it has on its node would not. */
function checkLeavesNothing(state: State, { id, name, spec, needsRestart }: StoredMachine): void {
  const refuse = (why: string, hint: string): never => {
    throw new HyperlaneError("UNSUPPORTED", `"${name}" cannot move: ${why}.`, { hint });
  };
  const mount = spec.mounts[0];
  if (mount)
    refuse(
      `${mount.volume ?? mount.folder} is of its node`,
      mount.volume === null ? "Start it without that folder." : `Take it away first: vps volume detach ${mount.volume} ${name}`,
    );
  if (spec.devices.length) refuse(`${spec.devices.join(", ")} is of its node`, "Start it without that device.");
  const kept = [...(state.snapshotsOf.get(id) ?? [])].map((s) => state.snapshot.get(s)!.name);
  if (kept.length) refuse(`its snapshots would be lost (${kept.join(", ")})`, `Remove them first: vps snapshot rm ${name} ${kept[0]}`);
  if (needsRestart) refuse("what runs was started before it was last changed", `Restart it first: vps restart ${name}`);
}
