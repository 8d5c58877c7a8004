/** Nodes: what they are, how full, what they offer; and keeping one from getting more. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import type { Node } from "#contract/resources/other.ts";
import { formatMib } from "#contract/size.ts";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { formatBytes } from "../kit/amounts.ts";
import { Button, Hint } from "../kit/button.tsx";
import { Empty, Facts, PageHead, Panel, Problem, Section, Waiting } from "../kit/page.tsx";
import { State } from "../kit/state.tsx";
import { Ago } from "../kit/time.tsx";
import { complain } from "../kit/toast.tsx";
import { Capacity } from "./capacity.tsx";

export function NodesPage() {
  const { data, error, isPending } = useQuery(queries.nodes);
  if (error) return <Problem error={error} className="m-6" />;
  if (isPending) return <Waiting />;
  return (
    <>
      <PageHead title="Nodes" note={data.length} />
      <div className="flex flex-col gap-6 px-4 pb-8 sm:px-6">
        {data.map((n) => (
          <Capacity key={n.id} node={n}>
            <Detail node={n} />
          </Capacity>
        ))}
        {!data.length && <Empty title="No nodes yet." command="hyperlane init" />}
        <Devices />
        <Templates />
      </div>
    </>
  );
}

function Detail({ node }: { node: Node }) {
  const { viewer } = useMe();
  const cache = useQueryClient();
  const { status } = node;
  async function drain(): Promise<void> {
    const params = { node: node.name };
    const changed = await (node.draining ? client.undrainNode({ params }) : client.drainNode({ params })).catch(complain);
    if (changed) cache.setQueryData(queries.nodes.queryKey, (before) => before?.map((n) => (n.id === changed.id ? changed : n)));
  }
  return (
    <div className="flex flex-wrap items-start gap-x-10 gap-y-3 border-t border-line pt-3">
      <Facts
        rows={[
          [
            "Runs on",
            status ? (
              <Hint key="a" text={status.acceleratorReason}>
                <span tabIndex={0} className="underline decoration-dotted underline-offset-2">
                  {status.accelerator === "kvm" ? "KVM" : "software emulation"}
                </span>
              </Hint>
            ) : (
              "–"
            ),
          ],
          ["Runtimes", status?.runtimes.join(", ") ?? "–"],
          ["Storage", status?.storage ?? "–"],
        ]}
      />
      <Facts
        rows={[
          ["Version", status?.version ?? "–"],
          ["Address", node.address],
          [node.connected ? "Connected" : "Lost", <Ago key="s" at={node.since} suffix />],
        ]}
      />
      <Facts
        rows={[
          ["Images", status ? `${status.images.length}, ${formatBytes(status.images.reduce((n, i) => n + i.bytes, 0))}` : "–"],
          ["Folders", status?.folders.length ? status.folders.join(", ") : "none may be mounted"],
        ]}
      />
      <Hint text={node.draining ? "It is given machines again." : "It is given no more machines; those on it stay."}>
        <span className="ml-auto">
          <Button whyNot={viewer} onClick={() => void drain()}>
            {node.draining ? "Undrain" : "Drain"}
          </Button>
        </span>
      </Hint>
    </div>
  );
}

function Devices() {
  const { data = [] } = useQuery(queries.devices);
  if (!data.length) return null;
  return (
    <Section title="Devices">
      <Panel className="divide-y divide-line">
        {data.map((d) => (
          <div key={`${d.node}${d.address}`} className="flex min-h-9 flex-wrap items-center gap-x-4 px-3.5 py-1.5">
            <span className="font-mono text-xs">{d.address}</span>
            <span className="w-24">{d.kind}</span>
            <span className="font-mono text-xs text-soft">
              {d.vendor}:{d.device}
            </span>
            <span className="text-soft">{d.node}</span>
            <span className="ml-auto text-soft">{d.machine ? `held by ${d.machine}` : (d.unavailable ?? "free")}</span>
          </div>
        ))}
      </Panel>
    </Section>
  );
}

function Templates() {
  const { data = [] } = useQuery(queries.templates);
  if (!data.length) return null;
  return (
    <Section title="Templates" note="what machines go on from in milliseconds">
      <Panel className="divide-y divide-line">
        {data.map((t) => (
          <div key={`${t.node}${t.key}`} className="flex min-h-9 flex-wrap items-center gap-x-4 px-3.5 py-1.5">
            <span className="w-24">
              <State word={t.state} />
            </span>
            <span className="font-medium">{t.image ?? "any image"}</span>
            <span className="text-soft">
              {t.cpu} CPU, {formatMib(t.memoryMib)} RAM
            </span>
            <span className="ml-auto text-soft">
              {formatBytes(t.bytes)}
              {t.spares > 0 && `, ${t.spares} spare`}
            </span>
          </div>
        ))}
      </Panel>
    </Section>
  );
}
