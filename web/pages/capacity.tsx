/** A node, and how full it is. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, type ReactNode } from "react";
import type { Node } from "#contract/resources/other.ts";
import { formatMib } from "#contract/size.ts";
import { takenByNode } from "../data/capacity.ts";
import { queries, useMachines } from "../data/queries.ts";
import { plural } from "../kit/amounts.ts";
import { Bar } from "../kit/bar.tsx";
import { Panel } from "../kit/page.tsx";
import { State } from "../kit/state.tsx";

export function Capacity({ node, children }: { node: Node; children?: ReactNode }) {
  const { machines } = useMachines();
  const { data: volumes } = useQuery(queries.volumes);
  const taken = useMemo(() => takenByNode(machines, volumes ?? []).get(node.id), [machines, volumes, node.id]);
  const { status } = node;
  const state = !node.connected
    ? (["not connected", "bad"] as const)
    : node.draining
      ? (["drained", "warn"] as const)
      : (["connected", "ok"] as const);
  return (
    <Panel className="flex flex-col gap-3 p-3.5">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <Link to="/nodes" className="font-medium hover:underline">
          {node.name}
        </Link>
        <State word={state[0]} tone={state[1]} />
        <Link to="/machines" search={{ q: `node:${node.name}` }} className="ml-auto text-soft hover:text-ink hover:underline">
          {plural(taken?.machines ?? 0, "machine")}, {taken?.running ?? 0} running
        </Link>
      </div>
      {status && (
        <div className="grid gap-x-6 gap-y-2.5 sm:grid-cols-3">
          <Bar label="CPU" used={taken?.cpu ?? 0} of={Math.max(status.cpu, taken?.cpu ?? 0)} text={`${taken?.cpu ?? 0} / ${status.cpu}`} />
          <Bar
            label="RAM"
            used={taken?.memoryMib ?? 0}
            of={status.memoryMib}
            text={`${formatMib(taken?.memoryMib ?? 0)} / ${formatMib(status.memoryMib)}`}
          />
          <Bar label="Disk" used={status.diskMib - status.diskFreeMib} of={status.diskMib} text={`${formatMib(status.diskFreeMib)} free`} />
        </div>
      )}
      {children}
    </Panel>
  );
}
