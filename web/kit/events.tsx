/** Events, newest first; the last one is where the eye is. */
import { Link } from "@tanstack/react-router";
import type { Event } from "#contract/resources/other.ts";
import { describeEvent, eventName } from "#contract/resources/words.ts";
import { Table, type Column } from "./table.tsx";
import { Empty } from "./page.tsx";

type Names = ReadonlyMap<string, string>;

/** names: of what events are about and of who made them, by id. */
export function Events({ events, names, about = true }: { events: readonly Event[]; names: Names; about?: boolean }) {
  const columns: Column<Event>[] = [
    { id: "time", label: "Time", width: "8.5rem", cell: (e) => <Clock at={e.at} /> },
    ...(about ? [{ id: "about", label: "About", width: "18%", cell: (e: Event) => <About event={e} names={names} /> }] : []),
    { id: "what", label: "What", width: "13rem", cell: (e) => <span className="font-medium">{wordsOf(eventName(e.type))}</span> },
    { id: "detail", label: "Detail", from: "md", cell: (e) => <span className="text-soft">{detailOf(e, names)}</span> },
    { id: "who", label: "By", width: "7rem", from: "sm", cell: (e) => <span className="text-soft">{actorOf(e.actor, names)}</span> },
    {
      id: "seq",
      label: "No.",
      width: "5rem",
      right: true,
      from: "lg",
      cell: (e) => <span className="font-mono text-xs text-soft">{e.seq}</span>,
    },
  ];
  return (
    <Table
      label="Events"
      columns={columns}
      rows={events}
      keyOf={(e) => String(e.seq)}
      rowHeight={30}
      empty={<Empty title="No events." />}
    />
  );
}

/** "MachineSpecChanged" -> "Machine spec changed". */
function wordsOf(name: string): string {
  const words = name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return words[0]!.toUpperCase() + words.slice(1);
}

/** With names in the place of ids. */
export function detailOf(event: Pick<Event, "data">, names: Names): string {
  return describeEvent(event.data).replace(/\b[a-z]-[a-z2-7]{12}\b/g, (id) => names.get(id) ?? id);
}

export function actorOf(actor: string, names: Names): string {
  return names.get(actor.replace(/^node:/, "")) ?? (actor === "reconcile" ? "hyperlane" : actor);
}

function About({ event, names }: { event: Event; names: Names }) {
  const name = names.get(event.subject) ?? (event.data as { name?: string } | null)?.name;
  if (!event.subject.startsWith("m-")) return name ?? event.subject;
  return (
    <Link to="/machines/$name" params={{ name: name ?? event.subject }} className="hover:underline">
      {name ?? event.subject}
    </Link>
  );
}

function Clock({ at }: { at: number }) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString("en-GB");
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()} className="font-mono text-xs text-soft">
      {today ? `${time}.${String(at % 1000).padStart(3, "0")}` : `${date.toISOString().slice(0, 10)} ${time.slice(0, 5)}`}
    </time>
  );
}
