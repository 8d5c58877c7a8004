/** What nodes have and what is promised of it. Pure. */
import type { Machine } from "#contract/resources/machine.ts";
import type { Node } from "#contract/resources/other.ts";

export type Size = { cpu: number; memoryMib: number; diskMib: number };
export type Taken = Size & { machines: number; running: number };

const NOTHING: Taken = { cpu: 0, memoryMib: 0, diskMib: 0, machines: 0, running: 0 };

/** By node's id: a machine holds its share whatever its power; so does a volume. */
export function takenByNode(
  machines: readonly Machine[],
  volumes: readonly { node: string | null; sizeMib: number }[],
): Map<string, Taken> {
  const taken = new Map<string, Taken>();
  const add = (node: string | null, more: Taken): void => {
    if (node === null) return;
    const t = taken.get(node) ?? NOTHING;
    taken.set(node, {
      cpu: t.cpu + more.cpu,
      memoryMib: t.memoryMib + more.memoryMib,
      diskMib: t.diskMib + more.diskMib,
      machines: t.machines + more.machines,
      running: t.running + more.running,
    });
  };
  for (const { node, spec, state } of machines) add(node, { ...spec, machines: 1, running: state === "running" ? 1 : 0 });
  for (const { node, sizeMib } of volumes) add(node, { ...NOTHING, diskMib: sizeMib });
  return taken;
}

/** Of all nodes that take machines. */
export function total(nodes: readonly Node[]): Size {
  return nodes.reduce(
    (sum, { status, connected, draining }) =>
      status && connected && !draining
        ? { cpu: sum.cpu + status.cpu, memoryMib: sum.memoryMib + status.memoryMib, diskMib: sum.diskMib + status.diskMib }
        : sum,
    { cpu: 0, memoryMib: 0, diskMib: 0 },
  );
}
