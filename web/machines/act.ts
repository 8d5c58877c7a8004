/** Doing it: shown at once as wished, then as the API answers; taken back where it refuses. */
import { useQuery, useQueryClient, type QueryClient } from "@tanstack/react-query";
import { toHyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { applyMachines, type Machines } from "../data/apply.ts";
import { queries, useMe } from "../data/queries.ts";
import { plural } from "../kit/amounts.ts";
import { complain, say } from "../kit/toast.tsx";
import { ACTIONS, whyNot, type ActionName, type Who } from "./actions.ts";

/** Of many, this many at a time. */
const AT_ONCE = 8;

export function useWho(): Who {
  const { admin } = useMe();
  const { data } = useQuery(queries.runtimes);
  return { admin, runtimes: data ?? [] };
}

/** Puts a machine where it is shown. */
export function putMachine(cache: QueryClient, machine: Machine): void {
  cache.setQueryData<Machines>(["machines"], (before) => before && applyMachines(before, { machines: [machine], gone: [] }));
  for (const query of cache.getQueryCache().findAll({ queryKey: ["machine"] }))
    if ((query.state.data as Machine | null | undefined)?.id === machine.id) cache.setQueryData(query.queryKey, machine);
}

/** Resolves once every answer is there. Those that would change nothing are left out. */
export function useAct(): (name: ActionName, machines: readonly Machine[]) => Promise<void> {
  const cache = useQueryClient();
  const who = useWho();
  return async (name, machines) => {
    const { call, wish, done } = ACTIONS[name];
    const wanted = machines.filter((m) => whyNot(name, m, who) === null);
    const failed: unknown[] = [];
    const waiting = [...wanted];
    const work = async (): Promise<void> => {
      for (let m = waiting.shift(); m; m = waiting.shift()) {
        putMachine(cache, { ...m, ...wish });
        try {
          putMachine(cache, await call(client, m.id));
        } catch (thrown) {
          if (toHyperlaneError(thrown).code !== "NOT_FOUND") putMachine(cache, m);
          failed.push(thrown);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (failed.length) complain(failed[0]);
    if (machines.length > 1 && wanted.length > failed.length)
      say(`${plural(wanted.length - failed.length, "machine")} to be ${done}${failed.length ? `; ${failed.length} refused` : ""}`);
  };
}
