/** What is asked of a machine beside what its node sees: where the two differ, something is still to be done, or went wrong. */
import { useQuery } from "@tanstack/react-query";
import { Check, Minus, MoveRight } from "lucide-react";
import { queries } from "../data/queries.ts";
import { Copy } from "../kit/copy.tsx";
import { Panel, Section } from "../kit/page.tsx";
import { compare, type Compared } from "./compare.ts";
import { useCurrent } from "./machine.tsx";

const ICONS = {
  true: [Check, "text-ok", "as desired"],
  false: [MoveRight, "text-warn", "differs"],
  null: [Minus, "text-soft", "not compared"],
} as const;

export function SpecTab() {
  const machine = useCurrent();
  const { data: volumes = [] } = useQuery(queries.volumes);
  const { data: snapshots = [] } = useQuery(queries.snapshots(machine.id));
  const rows = compare(machine, new Map(volumes.map((v) => [v.id, v.name])), snapshots);
  const { observed, ...desired } = machine;
  const asked = { spec: desired.spec, power: desired.power, exposures: desired.exposures, labels: desired.labels, sleep: desired.sleep };
  return (
    <div className="flex flex-col gap-6 p-4 sm:p-6">
      <Section title="Desired and seen" note={rows.every((r) => r.same !== false) ? "nothing is left to do" : "not the same yet"}>
        <Panel className="overflow-x-auto">
          <table className="w-full text-left">
            <thead>
              <tr className="border-b border-line text-soft">
                <th className="h-8 w-8 pl-3.5" aria-label="Same" />
                <th className="pr-4 font-normal">What</th>
                <th className="pr-4 font-normal">Desired</th>
                <th className="pr-4 font-normal">Seen</th>
                <th className="pr-4 font-normal max-sm:hidden">Why</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <Row key={row.what} row={row} />
              ))}
            </tbody>
          </table>
        </Panel>
      </Section>
      <div className="grid gap-6 lg:grid-cols-2">
        <Json title="Spec" value={asked} />
        <Json title="Status" value={observed} />
      </div>
    </div>
  );
}

function Row({ row }: { row: Compared }) {
  const [Icon, tone, word] = ICONS[`${row.same}`];
  return (
    <tr className="border-b border-line last:border-0">
      <td className="h-8 pl-3.5">
        <Icon size={14} className={tone} aria-label={word} />
      </td>
      <td className="pr-4">{row.what}</td>
      <td className="pr-4">{row.desired}</td>
      <td className={`pr-4 ${row.same === false ? "text-warn" : ""}`}>{row.seen}</td>
      <td className="pr-4 text-soft max-sm:hidden">{row.why}</td>
    </tr>
  );
}

function Json({ title, value }: { title: string; value: unknown }) {
  const text = JSON.stringify(value, null, 2);
  return (
    <Section title={title} actions={<Copy text={text} label={`Copy the ${title.toLowerCase()}`} />}>
      <Panel>
        <pre tabIndex={0} className="max-h-[32rem] overflow-auto p-3.5 font-mono text-xs leading-5" aria-label={`${title} as JSON`}>
          {text}
        </pre>
      </Panel>
    </Section>
  );
}
