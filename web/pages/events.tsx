/** Everything that happens, as it happens. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useDeferredValue, useMemo, useState } from "react";
import { eventName } from "#contract/resources/words.ts";
import { joinEvents, useLiveEvents } from "../data/event-log.ts";
import { useNames } from "../data/names.ts";
import { queries } from "../data/queries.ts";
import { Check, SearchField } from "../kit/field.tsx";
import { actorOf, detailOf, Events } from "../kit/events.tsx";
import { PageHead, Problem, Waiting } from "../kit/page.tsx";

export function EventsPage() {
  const { data, error, isPending } = useQuery({ ...queries.events(), staleTime: 0 });
  const navigate = useNavigate();
  const { q = "" } = useSearch({ strict: false });
  const [paused, setPaused] = useState<number>();
  const live = useLiveEvents();
  const all = useMemo(() => joinEvents(data ?? [], live), [data, live]);
  const names = useNames(all);
  const query = useDeferredValue(q.toLowerCase());
  const events = useMemo(() => {
    const words = query.split(/\s+/).filter(Boolean);
    const held = paused === undefined ? all : all.filter((e) => e.seq <= paused);
    if (!words.length) return held.toReversed();
    return held
      .filter((e) => {
        const text =
          `${names.get(e.subject) ?? ""} ${e.subject} ${eventName(e.type)} ${detailOf(e, names)} ${actorOf(e.actor, names)}`.toLowerCase();
        return words.every((w) => text.includes(w));
      })
      .toReversed();
  }, [all, query, names, paused]);
  if (error) return <Problem error={error} className="m-6" />;
  const held = paused === undefined ? 0 : all.filter((e) => e.seq > paused).length;
  return (
    <>
      <PageHead title="Events" note={held ? `${held.toLocaleString("en")} more since` : null}>
        <Check
          label="Live"
          checked={paused === undefined}
          onChange={(e) => setPaused(e.target.checked ? undefined : (all.at(-1)?.seq ?? 0))}
        />
        <SearchField
          value={q}
          onValue={(v) => void navigate({ to: "/events", search: { q: v }, replace: true })}
          label="Filter"
          className="w-44 sm:w-72!"
        />
      </PageHead>
      {isPending ? <Waiting lines={10} /> : <Events events={events} names={names} />}
    </>
  );
}
