/**
 * The one connection that keeps everything current. It says what changed since the last event that is known here, so a break
 * loses nothing; while it is down, the page says so and goes on showing what it last knew.
 */
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import type { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import type { Changes } from "#contract/resources/other.ts";
import { agedBy, applyMachines, join, type Machines } from "./apply.ts";
import { client } from "./client.ts";
import { keepEvents } from "./event-log.ts";

export type Live = { state: "connecting" | "live" } | { state: "offline"; since: number };

/** Silent for this long, it is tried anew; then after twice as long, and so on. */
const BACK_OFF_MS = [500, 1000, 2000, 4000, 8000];
/** Much at once is shown a few times a second; a little at once. */
const MANY = 40;
const GATHER_MS = 250;
/** A list is read again so soon after it grew old, and at most so often. */
const AGED_MS = 30;
const AGED_AGAIN_MS = 1000;

let live: Live = { state: "connecting" };
const listeners = new Set<() => void>();
const collectors = new Set<(changes: Changes) => void>();

export function useLive(): Live {
  return useSyncExternalStore(
    (listener) => (listeners.add(listener), () => void listeners.delete(listener)),
    () => live,
  );
}

function become(next: Live): void {
  live = next;
  listeners.forEach((l) => l());
}

/** What comes while something is read is newer than what is being read. */
export async function readWhile<T>(read: () => Promise<T>, put: (value: T, changes: Changes) => T): Promise<T> {
  let heard: Changes | undefined;
  const collect = (changes: Changes): void => void (heard = heard ? join(heard, changes) : changes);
  collectors.add(collect);
  try {
    const value = await read();
    return heard ? put(value, heard) : value;
  } finally {
    collectors.delete(collect);
  }
}

/** Until stopped. onRefused: this browser is no longer signed in. */
export function connect(queries: QueryClient, onRefused: (error: HyperlaneError) => void): () => void {
  let after: number | undefined;
  let tries = 0;
  let stopped = false;
  let close = (): void => {};
  let retry: ReturnType<typeof setTimeout> | undefined;
  const take = createTaker(queries);

  async function open(): Promise<void> {
    try {
      const stream = await client.stream(
        "watchChanges",
        { query: { after } },
        {
          message: () => {},
          text(text) {
            const changes = JSON.parse(text) as Changes;
            after = changes.seq;
            tries = 0;
            if (live.state !== "live") become({ state: "live" });
            take(changes);
          },
          close: () => again(),
        },
      );
      close = () => stream.close();
      if (stopped) close();
    } catch (thrown) {
      const error = thrown as HyperlaneError;
      if (error.code === "UNAUTHENTICATED") return onRefused(error);
      again();
    }
  }
  function again(): void {
    if (stopped) return;
    if (live.state !== "offline") become({ state: "offline", since: Date.now() });
    clearTimeout(retry);
    retry = setTimeout(() => void open(), BACK_OFF_MS[Math.min(tries++, BACK_OFF_MS.length - 1)]);
  }
  const now = (): void => {
    if (live.state !== "offline") return;
    tries = 0;
    clearTimeout(retry);
    void open();
  };
  addEventListener("online", now);
  void open();
  return () => {
    stopped = true;
    removeEventListener("online", now);
    clearTimeout(retry);
    close();
  };
}

/** Puts changes where they are shown: at once, or gathered while there are many. */
function createTaker(queries: QueryClient): (changes: Changes) => void {
  let gathered: Changes | undefined;
  const flush = (): void => {
    const changes = gathered!;
    gathered = undefined;
    show(queries, changes);
  };
  const age = createAging(queries);
  return (changes) => {
    for (const collect of collectors) collect(changes);
    if (changes.reset) return void queries.invalidateQueries();
    keepEvents(changes.events);
    age(agedBy(changes.events));
    if (gathered) gathered = join(gathered, changes);
    else if (changes.machines.length > MANY) {
      gathered = changes;
      setTimeout(flush, GATHER_MS);
    } else show(queries, changes);
  };
}

function show(queries: QueryClient, changes: Changes): void {
  queries.setQueryData<Machines>(["machines"], (before) => before && applyMachines(before, changes));
  for (const query of queries.getQueryCache().findAll({ queryKey: ["machine"] })) {
    const { id } = (query.state.data as Machine | null | undefined) ?? {};
    const now = changes.machines.find((m) => m.id === id || m.name === query.queryKey[1]);
    if (now) queries.setQueryData(query.queryKey, now);
    else if (id !== undefined && changes.gone.includes(id)) queries.setQueryData(query.queryKey, null);
  }
}

/** Reads lists again that are shown. */
function createAging(queries: QueryClient): (kinds: string[]) => void {
  const last = new Map<string, number>();
  const waiting = new Set<string>();
  return (kinds) => {
    for (const kind of kinds) {
      if (waiting.has(kind)) continue;
      waiting.add(kind);
      const since = Date.now() - (last.get(kind) ?? 0);
      const read = (): void => {
        waiting.delete(kind);
        last.set(kind, Date.now());
        void queries.invalidateQueries({ queryKey: [kind] });
      };
      setTimeout(read, Math.max(AGED_MS, AGED_AGAIN_MS - since));
    }
  };
}
