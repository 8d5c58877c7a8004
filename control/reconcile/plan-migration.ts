/**
 * The planner's part for a machine on its way to another node. Both ends say how far they are; the machine is the source's until
 * both are done, and from then on the target's: that is one fact of the log, so there are never two of it, and never none.
 * Until then whatever goes wrong at either end leaves it where it is. Pure.
 */
import type { NewEvent, StoredMachine } from "#control/model/state.ts";
import { arrivalKey, fact, RESEND_MS, type Action, type World } from "./plan-facts.ts";

/** A node that is away for longer is not waited for. */
export const AWAY_MS = 30_000;

export function planMigration(m: StoredMachine, world: World): Action[] {
  const { n, to, epoch, seen } = m.migration!;
  const say = (event: NewEvent): Action[] => [{ kind: "append", event }];
  const end = (reason: string): Action[] => say(fact("v1.MachineMigrationEnded", m.id, { reason }));
  if (m.destroying || m.power !== "running" || m.epoch !== epoch) return end("something else was asked of it meanwhile");
  const here = m.observed?.move?.n === n ? m.observed.move : null;
  for (const end_ of [here, seen]) if (end_?.stage === "failed") return end(end_.reason ?? "it failed");
  if (here?.stage === "done" && seen?.stage === "done") return say(fact("v1.MachineMigrated", m.id, { from: m.node! }));
  if (m.observed && m.observed.revision >= m.revision && !["running", "starting"].includes(m.observed.phase) && here?.stage !== "done")
    return end(m.observed.reason ?? `it is ${m.observed.phase}`);
  for (const id of [m.node!, to]) {
    const node = world.state.node.get(id);
    if (!node) return end("its node was taken out");
    if (!node.connected && world.now - node.since > AWAY_MS) return end(`the node ${node.name} is away`);
  }
  return seen ? [] : tellTarget(m, to, world);
}

/** It answers with how far it is; until then it is told again. */
function tellTarget(m: StoredMachine, to: string, world: World): Action[] {
  const sent = world.sent.get(arrivalKey(m.id));
  const told = sent && sent.revision >= m.revision && world.now - sent.at < RESEND_MS;
  if (told || !world.state.node.get(to)?.connected) return [];
  return [{ kind: "apply", node: to, machine: m.id, revision: m.revision }];
}
