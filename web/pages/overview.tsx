/** What there is, what is full, what failed, and what changed last. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import type { Event } from "#contract/resources/other.ts";
import { doing, eventName } from "#contract/resources/words.ts";
import { joinEvents, useLiveEvents } from "../data/event-log.ts";
import { useNames } from "../data/names.ts";
import { queries, useMachines } from "../data/queries.ts";
import { actorOf, detailOf } from "../kit/events.tsx";
import { Empty, PageHead, Panel, Problem, Section } from "../kit/page.tsx";
import { MachineState, State } from "../kit/state.tsx";
import { Ago } from "../kit/time.tsx";
import { Capacity } from "./capacity.tsx";

const ORDER = ["running", "standby", "paused", "stopped", "failed"];
const LAST = 14;
/** Who looks changes nothing, and a node's free space changes all the time. */
const QUIET = /^v\d+\.(Session|NodeObserved)/;

export function OverviewPage() {
  const { machines, loading, error } = useMachines();
  const { data: nodes = [] } = useQuery(queries.nodes);
  const failed = machines.filter((m) => m.state === "failed" || m.observed?.health === "unhealthy");
  const waiting = machines.filter((m) => m.state === "requested" && m.reason !== null);
  if (error) return <Problem error={error} className="m-6" />;
  return (
    <>
      <PageHead title="Overview" />
      <div className="flex flex-col gap-7 px-4 pb-8 sm:px-6">
        <Counts machines={machines} loading={loading} />
        {!loading && machines.length === 0 && (
          <Panel>
            <Empty title="No machines yet." command="vps up api-prod">
              Or{" "}
              <Link to="/machines/new" className="text-accent underline">
                create one here
              </Link>
              .
            </Empty>
          </Panel>
        )}
        <div className="grid gap-x-6 gap-y-7 xl:grid-cols-[minmax(0,1fr)_minmax(0,1.35fr)]">
          <div className="flex min-w-0 flex-col gap-7">
            <Section title="Nodes">
              <div className="flex flex-col gap-3">
                {nodes.map((n) => (
                  <Capacity key={n.id} node={n} />
                ))}
              </div>
            </Section>
            {(failed.length > 0 || waiting.length > 0) && (
              <Section title="Needs a look">
                <Attention machines={[...failed, ...waiting]} />
              </Section>
            )}
          </div>
          <Section
            title="What changed last"
            actions={
              <Link to="/events" className="text-accent hover:underline">
                all events
              </Link>
            }
          >
            <Recent />
          </Section>
        </div>
      </div>
    </>
  );
}

function Counts({ machines, loading }: { machines: readonly Machine[]; loading: boolean }) {
  const counts = new Map(ORDER.map((state) => [state, 0]));
  let moving = 0;
  for (const m of machines) {
    const word = doing(m);
    if (counts.has(word)) counts.set(word, counts.get(word)! + 1);
    else moving++;
  }
  const all = [...counts, ...(moving ? [["on its way", moving] as const] : [])];
  return (
    <ul className="flex flex-wrap gap-x-9 gap-y-4" aria-label="Machines by state">
      {all.map(([word, n]) => (
        <li key={word}>
          <Link to="/machines" search={word === "on its way" ? {} : { q: `state:${word}` }} className="group flex flex-col gap-0.5">
            <span className={`text-2xl leading-8 font-semibold tracking-tight ${n === 0 ? "text-soft" : ""}`}>
              {loading ? "–" : n.toLocaleString("en")}
            </span>
            <span className="text-soft group-hover:text-ink">
              <State word={word} {...(word === "on its way" && { tone: "busy" as const })} />
            </span>
          </Link>
        </li>
      ))}
    </ul>
  );
}

const SHOWN = 8;

function Attention({ machines }: { machines: readonly Machine[] }) {
  return (
    <Panel className="divide-y divide-line">
      {machines.slice(0, SHOWN).map((m) => (
        <Link
          key={m.id}
          to="/machines/$name"
          params={{ name: m.name }}
          className="flex min-h-9 items-center gap-3 px-3.5 py-1.5 hover:bg-hover"
        >
          <span className="w-24 shrink-0">
            <MachineState machine={m} />
          </span>
          <span className="shrink-0 font-medium">{m.name}</span>
          <span className="min-w-0 truncate text-soft">{m.reason}</span>
        </Link>
      ))}
      {machines.length > SHOWN && (
        <Link to="/machines" search={{ q: "state:failed" }} className="block px-3.5 py-2 text-accent hover:underline">
          {machines.length - SHOWN} more
        </Link>
      )}
    </Panel>
  );
}

function Recent() {
  const { data = [] } = useQuery({ ...queries.events(), staleTime: 0 });
  const live = useLiveEvents();
  const events = useMemo(
    () =>
      joinEvents(data, live)
        .filter((e) => !QUIET.test(e.type))
        .slice(-LAST)
        .toReversed(),
    [data, live],
  );
  const names = useNames(events);
  return (
    <Panel className="divide-y divide-line">
      {events.map((e) => (
        <Line key={e.seq} event={e} names={names} />
      ))}
      {!events.length && <Empty title="Nothing has happened yet." />}
    </Panel>
  );
}

function Line({ event, names }: { event: Event; names: ReadonlyMap<string, string> }) {
  const detail = detailOf(event, names);
  const about = names.get(event.subject) ?? (event.data as { name?: string } | null)?.name ?? event.subject;
  return (
    <div className="flex h-8 items-center gap-3 px-3.5">
      <span className="w-14 shrink-0 text-soft">
        <Ago at={event.at} />
      </span>
      <span className="min-w-0 shrink-0 truncate font-medium max-sm:max-w-28">{about}</span>
      <span className="min-w-0 flex-1 truncate text-soft">
        {eventName(event.type)
          .replace(/([a-z])([A-Z])/g, "$1 $2")
          .toLowerCase()}
        {detail && `: ${detail}`}
      </span>
      <span className="shrink-0 text-soft max-sm:hidden">{actorOf(event.actor, names)}</span>
    </div>
  );
}
