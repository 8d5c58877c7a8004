/** What a size costs of what the nodes have. */
import { useQuery } from "@tanstack/react-query";
import { formatMib } from "#contract/size.ts";
import { takenByNode, total, type Size } from "../data/capacity.ts";
import { queries, useMachines } from "../data/queries.ts";
import { Bar } from "../kit/bar.tsx";

export function Cost({ spec }: { spec: Size }) {
  const { machines } = useMachines();
  const { data: nodes = [] } = useQuery(queries.nodes);
  const { data: volumes = [] } = useQuery(queries.volumes);
  const all = total(nodes);
  const open = new Set(nodes.filter((n) => n.connected && !n.draining).map((n) => n.id));
  const taken = [...takenByNode(machines, volumes)].filter(([id]) => open.has(id)).map(([, t]) => t);
  const sum = (of: keyof Size): number => taken.reduce((n, t) => n + t[of], 0);
  const row = (label: string, of: keyof Size, text: (n: number) => string) => {
    const more = Math.max(0, spec[of]);
    return <Bar label={label} used={sum(of)} more={more} of={all[of]} text={`${text(sum(of) + spec[of])} of ${text(all[of])}`} />;
  };
  return (
    <div className="flex flex-col gap-2.5">
      {row("CPU", "cpu", String)}
      {row("RAM", "memoryMib", formatMib)}
      {row("Disk", "diskMib", formatMib)}
    </div>
  );
}
