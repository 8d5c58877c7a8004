/**
 * The log and its projections, in SQLite (WAL, synchronous=FULL). The only SQL, the only writer.
 *
 * append() folds events into memory at once and queues them; all that was queued in one turn of the event
 * loop commits in one transaction, and every append resolves only after that commit is on disk. A commit
 * that fails takes memory back to what is on disk: whoever waited for it is told, and nothing has happened.
 *
 * Each event row carries a CRC-32 chained over its predecessor's, so a damaged or cut tail is noticed at
 * start. Projection rows are written in the same transaction as the events they follow from.
 */
import { Database, type Statement } from "bun:sqlite";
import { HyperlaneError, invariant } from "#contract/errors.ts";
import { emptyState, KINDS, load, reduce, type Kind, type NewEvent, type State, type StoredEvent } from "#control/model/state.ts";
import { MIGRATIONS } from "./migrations.ts";

export type Idempotent = { key: string; fingerprint: string; status: number; body: string };
export type Store = ReturnType<typeof openStore>;
type Row = { seq: number; at: number; type: string; subject: string; actor: string; data: string; sum: number };

/** How many of the last events are checked against their chain at every start; `check` reads all. */
const TAIL = 20_000;

/** defer: when a commit happens that appends wait for; the next turn of the event loop unless a simulation decides. */
export function openStore(path: string, now: () => number, defer: (flush: () => void) => void = setImmediate) {
  const db = openDatabase(path);
  const state = emptyState();
  let { seq, sum } = loadState(db, state);
  const insert = db.query("INSERT INTO events (seq, at, type, subject, actor, data, sum) VALUES (?, ?, ?, ?, ?, ?, ?)");
  const upsert = db.query(
    "INSERT INTO projections (kind, id, doc) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET doc = excluded.doc",
  );
  const remove = db.query("DELETE FROM projections WHERE kind = ? AND id = ?");
  const remember = db.query("INSERT OR REPLACE INTO idempotency (key, fingerprint, status, body, at) VALUES (?, ?, ?, ?, ?)");

  let events: StoredEvent[] = [];
  let answers: Idempotent[] = [];
  let touched = new Map<string, [Kind, string]>();
  let commit: PromiseWithResolvers<void> | undefined;
  let dead: HyperlaneError | undefined;
  const listeners = new Set<(events: StoredEvent[]) => void>();

  const flush = (): void => {
    const [batch, kept, rows, waiting] = [events, answers, touched, commit];
    [events, answers, touched, commit] = [[], [], new Map(), undefined];
    if (dead || !waiting) return;
    try {
      db.transaction(() => {
        for (const e of batch) sum = insertEvent(insert, e, sum);
        for (const [kind, id] of rows.values()) {
          const doc = (state[kind] as Map<string, unknown>).get(id);
          if (doc) upsert.run(kind, id, JSON.stringify(doc));
          else remove.run(kind, id);
        }
        if (batch.length) db.run("UPDATE meta SET value = ? WHERE key = 'projected'", [String(batch.at(-1)!.seq)]);
        for (const a of kept) remember.run(a.key, a.fingerprint, a.status, a.body, now());
      }).immediate();
    } catch (cause) {
      const error = new HyperlaneError(isFull(cause) ? "NO_SPACE" : "FAILED", `Cannot write to the database: ${String(cause)}`, { cause });
      // Memory goes back to what is on disk, so that what was refused has not happened.
      try {
        for (const map of Object.values(state)) map.clear();
        ({ seq, sum } = loadState(db, state));
      } catch {
        dead = error;
      }
      waiting.reject(error);
      return;
    }
    waiting.resolve();
    for (const listener of listeners) listener(batch);
  };

  return {
    state,
    /** Resolves once these events, and the answer kept for an idempotency key, are durable. */
    append(list: readonly NewEvent[], answer?: Idempotent): Promise<void> {
      if (dead) return Promise.reject(dead);
      for (const event of list) {
        const stored = { ...event, seq: ++seq, at: now() } as StoredEvent;
        for (const [kind, id] of reduce(state, stored)) touched.set(`${kind} ${id}`, [kind, id]);
        events.push(stored);
      }
      if (answer) answers.push(answer);
      return this.settled(true);
    },
    /** Resolves when all that memory holds is durable: a reader must not be told what a crash could take back. */
    settled(force = false): Promise<void> {
      if (!commit && !force) return Promise.resolve();
      if (!commit) {
        commit = Promise.withResolvers();
        commit.promise.catch(() => {});
        defer(flush);
      }
      return commit.promise;
    },
    flush,
    get lastSeq() {
      return seq;
    },
    get dead() {
      return dead;
    },
    subscribe(listener: (events: StoredEvent[]) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    events(after: number, limit: number, subject?: string): StoredEvent[] {
      const where = subject === undefined ? "" : "AND subject = $subject";
      const rows = db
        .query(`SELECT * FROM events WHERE seq > $after ${where} ORDER BY seq LIMIT $limit`)
        .all({ $after: after, $limit: limit, ...(subject !== undefined && { $subject: subject }) });
      return (rows as Row[]).map(fromRow);
    },
    /** The last ones, oldest first. */
    lastEvents(limit: number, subject?: string): StoredEvent[] {
      const where = subject === undefined ? "" : "WHERE subject = $subject";
      const rows = db
        .query(`SELECT * FROM events ${where} ORDER BY seq DESC LIMIT $limit`)
        .all({ $limit: limit, ...(subject !== undefined && { $subject: subject }) });
      return (rows as Row[]).map(fromRow).reverse();
    },
    answerFor(key: string): Idempotent | undefined {
      return (answers.find((a) => a.key === key) ??
        db.query("SELECT key, fingerprint, status, body FROM idempotency WHERE key = ?").get(key) ??
        undefined) as Idempotent | undefined;
    },
    forgetAnswers(before: number): void {
      db.query("DELETE FROM idempotency WHERE at < ?").run(before);
    },
    /** The state that replaying the whole log from empty gives. */
    replay(): State {
      return replay(db);
    },
    close(): void {
      flush();
      db.close();
    },
  };
}

function openDatabase(path: string): Database {
  try {
    const db = new Database(path, { create: true, strict: true });
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = FULL");
    db.run("PRAGMA busy_timeout = 2000");
    // Single writer: a second control plane on the same file must not start.
    if (path !== ":memory:") db.run("PRAGMA locking_mode = EXCLUSIVE");
    const version = (db.query("PRAGMA user_version").get() as { user_version: number }).user_version;
    invariant(version <= MIGRATIONS.length, `the database is of a newer version (${version}) than this program (${MIGRATIONS.length})`);
    for (let v = version; v < MIGRATIONS.length; v++)
      db.transaction(() => {
        db.run(MIGRATIONS[v]!);
        db.run(`PRAGMA user_version = ${v + 1}`);
      }).immediate();
    return db;
  } catch (cause) {
    if (cause instanceof HyperlaneError) throw cause;
    const text = String(cause);
    if (/locked|busy/i.test(text))
      throw new HyperlaneError("CONFLICT", `Another control plane uses the database "${path}".`, {
        hint: "Stop it with `hyperlane stop`, then start this one.",
        cause,
      });
    throw new HyperlaneError("CORRUPT", `Cannot open the database "${path}": ${text}`, { cause });
  }
}

function loadState(db: Database, state: State): { seq: number; sum: number } {
  try {
    const { good, bad } = checkChain(db, TAIL);
    const projected = Number((db.query("SELECT value FROM meta WHERE key = 'projected'").get() as { value: string }).value);
    if (bad !== null)
      throw new HyperlaneError(
        "CORRUPT",
        `The event log is damaged: event ${bad} does not follow from the one before. The last good event is ${good.seq}.`,
      );
    if (projected !== good.seq)
      throw new HyperlaneError(
        "CORRUPT",
        `The event log ends at ${good.seq}, but its projections go to ${projected}: the end of the log was lost.`,
      );
    for (const kind of KINDS)
      for (const row of db.query("SELECT id, doc FROM projections WHERE kind = ?").iterate(kind) as Iterable<{ id: string; doc: string }>)
        load(state, kind, row.id, JSON.parse(row.doc));
    return good;
  } catch (cause) {
    if (cause instanceof HyperlaneError) throw cause;
    throw new HyperlaneError("CORRUPT", `Cannot read the database: ${String(cause)}`, { cause });
  }
}

/** Walks the last `count` events. good: the last one that follows from its predecessor; bad: the first that does not. */
export function checkChain(db: Database, count: number): { good: { seq: number; sum: number }; bad: number | null } {
  const last = (db.query("SELECT max(seq) AS seq FROM events").get() as { seq: number | null }).seq ?? 0;
  const from = Math.max(0, last - count);
  const anchor = db.query("SELECT seq, sum FROM events WHERE seq = ?").get(from) as { seq: number; sum: number } | null;
  let good = anchor ?? { seq: from, sum: 0 };
  if (from > 0 && !anchor) return { good, bad: from };
  for (const row of db.query("SELECT * FROM events WHERE seq > ? ORDER BY seq").iterate(from) as Iterable<Row>) {
    if (row.seq !== good.seq + 1 || chain(good.sum, row) !== row.sum) return { good, bad: row.seq };
    good = { seq: row.seq, sum: row.sum };
  }
  return { good, bad: null };
}

export function replay(db: Database, upTo = Number.MAX_SAFE_INTEGER): State {
  const state = emptyState();
  for (const row of db.query("SELECT * FROM events WHERE seq <= ? ORDER BY seq").iterate(upTo) as Iterable<Row>)
    reduce(state, fromRow(row));
  return state;
}

function insertEvent(insert: Statement, e: StoredEvent, sum: number): number {
  const row = { seq: e.seq, at: e.at, type: e.type, subject: e.subject, actor: e.actor, data: JSON.stringify(e.data) };
  const next = chain(sum, row);
  insert.run(row.seq, row.at, row.type, row.subject, row.actor, row.data, next);
  return next;
}

function chain(sum: number, row: Omit<Row, "sum">): number {
  return Bun.hash.crc32(`${sum} ${row.seq} ${row.at} ${row.type} ${row.subject} ${row.actor} ${row.data}`);
}

function fromRow(row: Row): StoredEvent {
  const { sum: _, ...event } = row;
  return { ...event, data: JSON.parse(row.data) } as StoredEvent;
}

function isFull(cause: unknown): boolean {
  return /full|ENOSPC|no space/i.test(String(cause));
}
