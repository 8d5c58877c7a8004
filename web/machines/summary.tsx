/** A machine at a glance: what it uses now, what it is, where it is reached. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { argvOf } from "#contract/resources/argv.ts";
import { formatMib } from "#contract/size.ts";
import { queries } from "../data/queries.ts";
import { Code } from "../kit/copy.tsx";
import { Facts, Panel, Section } from "../kit/page.tsx";
import { Ago } from "../kit/time.tsx";
import { useCurrent } from "./machine.tsx";
import { EditLabels } from "./labels.tsx";
import { Scale } from "./scale.tsx";

const Charts = lazy(() => import("./charts.tsx").then((m) => ({ default: m.Charts })));

export function SummaryTab() {
  const machine = useCurrent();
  const { spec, observed } = machine;
  const { data: nodes } = useQuery(queries.nodes);
  const node = nodes?.find((n) => n.id === machine.node);
  const argv = argvOf(spec, machine.image);
  return (
    <div className="flex flex-col gap-6 p-4 sm:p-6">
      <Suspense fallback={<div className="h-40" />}>
        <Charts machine={machine} />
      </Suspense>
      <div className="grid gap-6 lg:grid-cols-2">
        <Section title="Machine" actions={<Scale machine={machine} />}>
          <Panel className="p-3.5">
            <Facts
              rows={[
                spec.kernel && ["Kernel", spec.kernel.path],
                spec.kernel
                  ? ["Disk of", spec.image]
                  : [
                      "Image",
                      <Link key="i" to="/images/$image" params={{ image: spec.image }} className="hover:underline">
                        {spec.image}
                      </Link>,
                    ],
                ["Size", `${spec.cpu} CPU, ${formatMib(spec.memoryMib)} RAM, ${formatMib(spec.diskMib)} disk`],
                argv.length > 0 && [
                  "Runs",
                  <code key="a" className="font-mono text-xs">
                    {argv.join(" ")}
                  </code>,
                ],
                ["Runtime", spec.runtime ?? "qemu"],
                [
                  "Node",
                  node ? (
                    <Link key="n" to="/machines" search={{ q: `node:${node.name}` }} className="hover:underline">
                      {node.name}
                    </Link>
                  ) : (
                    "none yet"
                  ),
                ],
                ["Restarts", spec.restart],
                spec.idleS !== null && ["Sleeps", `after ${spec.idleS} s with nothing to do`],
                spec.devices.length > 0 && ["Devices", spec.devices.join(", ")],
                ["Id", <Code key="c" text={machine.id} />],
                ["Created", <Ago key="t" at={machine.createdAt} suffix />],
              ]}
            />
          </Panel>
        </Section>
        <Section title="Reach it">
          <Panel className="p-3.5">
            <Facts
              rows={[
                ["SSH", <Code key="s" text={`vps ssh ${machine.name}`} />],
                [
                  "Shell",
                  <Link key="t" to="/machines/$name/terminal" params={{ name: machine.name }} className="text-accent hover:underline">
                    open a terminal here
                  </Link>,
                ],
                observed?.address4 != null && ["IPv4", <Code key="4" text={observed.address4} />],
                observed?.address6 != null && ["IPv6", <Code key="6" text={observed.address6} />],
                ["Name", <Code key="n" text={`${machine.name}.internal`} />],
                [
                  "Ports",
                  machine.exposures.length ? (
                    <span key="p" className="flex flex-wrap gap-x-3">
                      {machine.exposures.map((e) => (
                        <span key={`${e.port}${e.protocol}`}>
                          {e.hostPort} → {e.port}/{e.protocol}
                        </span>
                      ))}
                    </span>
                  ) : (
                    <Link key="p" to="/machines/$name/network" params={{ name: machine.name }} className="text-accent hover:underline">
                      expose one
                    </Link>
                  ),
                ],
              ]}
            />
          </Panel>
        </Section>
        <Section
          title="Last start"
          note={
            observed?.origin
              ? `from ${{ boot: "its kernel on", template: "a template", spare: "a spare", memory: "its own memory" }[observed.origin]}`
              : undefined
          }
        >
          <Panel className="p-3.5">
            {observed?.steps.length ? <Steps steps={observed.steps} /> : <p className="text-soft">It has not started yet.</p>}
          </Panel>
        </Section>
        <Section title="Labels" actions={<EditLabels machine={machine} />}>
          <Panel className="p-3.5">
            {Object.keys(machine.labels).length ? <Facts rows={Object.entries(machine.labels)} /> : <p className="text-soft">None.</p>}
          </Panel>
        </Section>
      </div>
    </div>
  );
}

/** Each step, as long as it took. */
function Steps({ steps }: { steps: readonly { name: string; ms: number }[] }) {
  const longest = Math.max(...steps.map((s) => s.ms), 1);
  return (
    <ol className="grid grid-cols-[auto_1fr_auto] items-center gap-x-3 gap-y-1.5">
      {steps.map((s) => (
        <li key={s.name} className="contents">
          <span className="text-soft">{s.name}</span>
          <span className="h-1.5 rounded-full bg-accent opacity-70" style={{ width: `${Math.max(1, (100 * s.ms) / longest)}%` }} />
          <span className="text-right font-mono text-xs">{Math.round(s.ms)} ms</span>
        </li>
      ))}
    </ol>
  );
}
