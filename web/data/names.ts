/** What ids are called, for those who read events. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Event } from "#contract/resources/other.ts";
import { queries, useMachines, useMe } from "./queries.ts";

/** Of all there is, and of what these events name themselves: what is gone has its name in them. */
export function useNames(events: readonly Event[]): ReadonlyMap<string, string> {
  const { machines } = useMachines();
  const { me, admin } = useMe();
  const { data: nodes } = useQuery(queries.nodes);
  const { data: tokens } = useQuery({ ...queries.tokens, enabled: admin });
  const { data: images } = useQuery(queries.images);
  const { data: volumes } = useQuery(queries.volumes);
  const { data: networks } = useQuery(queries.networks);
  return useMemo(() => {
    const said = events.flatMap((e) => {
      const { name } = (e.data ?? {}) as { name?: unknown };
      return typeof name === "string" ? [{ id: e.subject, name }] : [];
    });
    const there = [machines, nodes, tokens, images, volumes, networks].flatMap(
      (list): readonly { id: string; name: string }[] => list ?? [],
    );
    return new Map([...said, ...(me ? [me] : []), ...there].map(({ id, name }) => [id, name]));
  }, [events, machines, me, nodes, tokens, images, volumes, networks]);
}
