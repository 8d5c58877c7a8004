/** A damaged database set aside, and a new one made of the events that still follow from one another. */
import { Database } from "bun:sqlite";
import { existsSync, renameSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { KINDS } from "#control/model/state.ts";
import { MIGRATIONS } from "./migrations.ts";
import { checkChain, replay } from "./store.ts";

export type Recovered = { kept: number; lastAt: string | null; aside: string };

export function recoverDatabase(path: string, stamp: string): Recovered {
  if (!existsSync(path)) throw new HyperlaneError("NOT_FOUND", `There is no database "${path}".`);
  const aside = `${path}.damaged-${stamp}`;
  const fresh = `${path}.new`;
  const from = new Database(path, { strict: true });
  const last = checkChain(from, Number.MAX_SAFE_INTEGER).good.seq;
  const to = new Database(fresh, { create: true, strict: true });
  const insert = to.query.bind(to);
  to.transaction(() => {
    for (const migration of MIGRATIONS) to.run(migration);
    to.run(`PRAGMA user_version = ${MIGRATIONS.length}`);
    const put = insert(
      "INSERT INTO events (seq, at, type, subject, actor, data, sum) VALUES ($seq, $at, $type, $subject, $actor, $data, $sum)",
    );
    for (const row of from.query("SELECT * FROM events WHERE seq <= ? ORDER BY seq").iterate(last)) put.run(row as never);
    to.run("UPDATE meta SET value = ? WHERE key = 'projected'", [String(last)]);
  })();
  const state = replay(to);
  const project = insert("INSERT INTO projections (kind, id, doc) VALUES (?, ?, ?)");
  to.transaction(() => {
    for (const kind of KINDS) for (const [id, doc] of state[kind] as Map<string, unknown>) project.run(kind, id, JSON.stringify(doc));
  })();
  const at = (to.query("SELECT at FROM events WHERE seq = ?").get(last) as { at: number } | null)?.at;
  from.close();
  to.close();
  for (const suffix of ["", "-wal", "-shm"]) if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${aside}${suffix}`);
  for (const suffix of ["", "-wal", "-shm"]) if (existsSync(`${fresh}${suffix}`)) renameSync(`${fresh}${suffix}`, `${path}${suffix}`);
  return { kept: last, lastAt: at === undefined ? null : new Date(at).toISOString(), aside };
}
