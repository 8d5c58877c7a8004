/** What happened to a machine, from its request on, as it goes on. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { joinEvents, useLiveEvents } from "../data/event-log.ts";
import { useNames } from "../data/names.ts";
import { queries } from "../data/queries.ts";
import { Events } from "../kit/events.tsx";
import { Problem, Waiting } from "../kit/page.tsx";
import { useCurrent } from "./machine.tsx";

export function EventsTab() {
  const { id } = useCurrent();
  const { data, error, isPending } = useQuery({ ...queries.events(id), staleTime: 0 });
  const live = useLiveEvents();
  const events = useMemo(
    () =>
      joinEvents(
        data ?? [],
        live.filter((e) => e.subject === id),
      ).toReversed(),
    [data, live, id],
  );
  const names = useNames(events);
  if (isPending) return <Waiting />;
  if (error) return <Problem error={error} className="m-6" />;
  return <Events events={events} names={names} about={false} />;
}
