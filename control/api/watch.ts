/** Watching: events one by one, or what they changed, a few times a second. */
import type { ServerWebSocket } from "bun";
import { HyperlaneError } from "#contract/errors.ts";
import type { Query } from "#contract/schemas.ts";
import type { Changes } from "#contract/resources/other.ts";
import type { StoredEvent } from "#control/model/state.ts";
import { view, type Deps } from "./handler.ts";
import type { Session } from "./live.ts";

type Socket = ServerWebSocket<Session>;

/** A client that reads this much slower than they come is cut off; it can go on from the last number it saw. */
const BEHIND_BYTES = 8 * 1024 * 1024;
const GATHER_MS = 100;
/** Whoever has missed more than this reads all anew, which is less. */
const MISSED_MAX = 5_000;
const PAGE = 1000;

/** From `after` (default: now), first what the log holds, then what comes; no gap and no double in between. subject: of that one alone. */
export function watchEvents(ws: Socket, { store }: Deps): () => void {
  const { after = store.lastSeq, subject } = ws.data.query as Query<"watchEvents">;
  let sent = after;
  const send = (events: StoredEvent[]): void => {
    for (const event of events) {
      if (event.seq <= sent) continue;
      sent = event.seq;
      if (subject === undefined || event.subject === subject) ws.send(JSON.stringify(event));
    }
    endSlow(ws, sent);
  };
  const stop = store.subscribe(send);
  for (let page = store.events(sent, PAGE); page.length; page = store.events(sent, PAGE)) send(page);
  return stop;
}

/** The first message comes at once, and says from where on nothing is missed. */
export function watchChanges(ws: Socket, { store }: Deps): () => void {
  const { after } = ws.data.query as Query<"watchChanges">;
  let gathered: StoredEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tell = (more?: Pick<Changes, "reset">): void => {
    timer = undefined;
    const ids = new Set(gathered.filter((e) => e.subject.startsWith("m-")).map((e) => e.subject));
    const machines = [...ids].flatMap((id) => store.state.machine.get(id) ?? []);
    const there = new Set(machines.map((m) => m.id));
    const gone = [...ids].filter((id) => !there.has(id));
    const changes: Changes = { seq: gathered.at(-1)?.seq ?? store.lastSeq, events: gathered, machines: machines.map(view), gone, ...more };
    gathered = [];
    ws.send(JSON.stringify(changes));
    endSlow(ws, changes.seq);
  };
  const stop = store.subscribe((events) => {
    gathered.push(...events);
    timer ??= setTimeout(tell, GATHER_MS);
  });
  const missed = after === undefined ? 0 : store.lastSeq - after;
  const far = missed < 0 || missed > MISSED_MAX;
  // What is queued but not yet written comes with its commit.
  if (after !== undefined && !far) gathered = store.events(after, MISSED_MAX);
  tell(far ? { reset: true } : undefined);
  return () => {
    stop();
    clearTimeout(timer);
  };
}

function endSlow(ws: Socket, seq: number): void {
  if (ws.getBufferedAmount() <= BEHIND_BYTES) return;
  const error = new HyperlaneError("TOO_LARGE", "This client reads events too slowly.", { hint: `Connect again with after=${seq}.` });
  ws.send(JSON.stringify({ error }));
  ws.close(1011);
}
