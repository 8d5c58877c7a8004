/** Ends that nobody asked for, on a real node: whatever is killed, cut or damaged, the next start goes on. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { readFileSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { encodeFrame, encodeSync } from "#contract/wire/frames.ts";
import { F } from "#contract/wire/messages.ts";
import { startNode, WHY_NOT, type TestNode } from "./node.ts";

if (WHY_NOT) console.log(`SKIP tests/e2e/crash: ${WHY_NOT}`);
const it = test.skipIf(WHY_NOT !== null);
let node: TestNode;
const NOTE = ["--", "cat", "/root/note"];
const keptNote = async (): Promise<void> => expect(await node.ok(node.vps("exec", "one", ...NOTE))).toBe("kept\n");
const runsOnce = async (id: string): Promise<void> =>
  expect((await node.sh(["pgrep", "-f", `/${id}/qmp.sock`])).out.trim().split("\n")).toHaveLength(1);
const answers = (): Promise<number> => node.vps("exec", "one", "--", "true").then((r) => r.code);

beforeAll(async () => {
  if (WHY_NOT) return;
  node = await startNode("crash");
  await node.ok(node.vps("up", "one"));
  await node.ok(node.vps("exec", "one", "--", "sh", "-c", "echo kept > /root/note; sync"));
}, 120_000);
afterAll(async () => {
  if (!WHY_NOT) expect(await node.close()).toEqual([]);
}, 60_000);

it("control plane and agent killed: the machine runs on and is taken up again", async () => {
  const before = await node.machine("one");
  for (const role of ["serve", "agent"] as const) process.kill(node.pidOf(role), "SIGKILL");
  await node.until(answers, (code) => code === 0);
  expect((await node.machine("one")).observed!.pid).toBe(before.observed!.pid);
  await keptNote();
});

it("the VMM killed: it is started again, with its disk", async () => {
  const before = await node.machine("one");
  process.kill(before.observed!.pid!, "SIGKILL");
  await node.until(
    () => node.machine("one"),
    (m) => m.state === "running" && m.observed!.pid !== before.observed!.pid,
  );
  await keptNote();
});

it("everything killed at once, in the middle of a start: all comes back, once", async () => {
  await node.ok(node.vps("restart", "one", "--no-wait"));
  await Bun.sleep(900);
  const seen = await node.machine("one");
  for (const role of ["serve", "agent"] as const) process.kill(node.pidOf(role), "SIGKILL");
  if (seen.observed?.pid) process.kill(seen.observed.pid, "SIGKILL");
  await node.until(answers, (code) => code === 0);
  await keptNote();
  await runsOnce(seen.id);
});

it("a host that was restarted: its machines are started again", async () => {
  const before = await node.machine("one");
  await node.ok(node.host("stop"));
  // What a reboot leaves: no process, and records of another boot.
  process.kill(before.observed!.pid!, "SIGKILL");
  const path = `${node.state}/machines/${before.id}/record.json`;
  const record = JSON.parse(readFileSync(path, "utf8")) as { process: { bootId: string } };
  record.process.bootId = "00000000-0000-4000-8000-000000000000";
  writeFileSync(path, JSON.stringify(record));
  await node.ok(node.host("start"));
  await node.until(answers, (code) => code === 0);
  const after = await node.machine("one");
  expect([after.epoch, after.attempt]).toEqual([before.epoch + 1, 0]);
  await keptNote();
});

it("a record that cannot be read: its process is ended, and the machine started again on its disk", async () => {
  const { id } = await node.machine("one");
  await node.ok(node.host("stop"));
  writeFileSync(`${node.state}/machines/${id}/record.json`, '{"desired": {"id"');
  await node.ok(node.host("start"));
  await node.until(answers, (code) => code === 0);
  await keptNote();
  // The process that nobody remembered was found and ended.
  await runsOnce(id);
});

it("init survives what no host would send", async () => {
  const { id } = await node.machine("one");
  await node.ok(node.host("stop"));
  const nodeId = (JSON.parse(readFileSync(`${node.state}/agent.json`, "utf8")) as { node: string }).node;
  const socket = createConnection(`/run/hyperlane/${nodeId}/${id}/guest.sock`);
  socket.on("error", () => {}).resume();
  const types = [F.EXEC, F.STDIN, F.EOF, F.CREDIT, F.SIGNAL, F.RESIZE, F.CONFIG, F.FREEZE, F.STATS, F.READ, F.WRITE].filter(
    (t) => t !== F.FREEZE,
  );
  let random = 12345;
  const below = (n: number): number => (random = (random * 1103515245 + 12345) & 0x7fffffff) % n;
  const noise = (): Buffer => Buffer.from(Array.from({ length: below(120) }, () => below(256)));
  for (let round = 0; round < 40; round++) {
    const parts = [encodeSync(Buffer.from("noisenoi"))];
    for (let i = 0; i < 25; i++) {
      // CONFIG records that would change the network are not noise but orders: those are left out.
      const type = types[below(types.length)]!;
      const payload = type === F.CONFIG ? Buffer.concat([Buffer.from([10 + below(200)]), noise()]) : noise();
      parts.push(below(8) === 0 ? noise() : encodeFrame({ stream: below(6), type, payload }));
    }
    await new Promise((done) => socket.write(Buffer.concat(parts), done));
    await Bun.sleep(5);
  }
  await Bun.sleep(300);
  socket.destroy();
  await node.ok(node.host("start"));
  await node.until(answers, (code) => code === 0);
  await keptNote();
});

it("a damaged end of the log: it refuses to start, says what to do, and goes back to the last good event", async () => {
  await node.ok(node.host("stop"));
  const path = `${node.state}/hyperlane.db`;
  const db = new Database(path);
  db.run("PRAGMA wal_checkpoint(TRUNCATE)");
  const last = (db.query("SELECT max(seq) AS seq FROM events").get() as { seq: number }).seq;
  db.run("UPDATE events SET data = replace(data, '{', '[') WHERE seq = ?", [last]);
  db.close();
  const refused = await node.host("serve");
  expect([refused.code, refused.err]).toEqual([9, expect.stringContaining(`The last good event is ${last - 1}.`)]);
  expect(refused.err).toContain("hyperlane recover");
  expect(await node.ok(node.host("recover"))).toContain(`Kept ${last - 1} events`);
  expect([...new Bun.Glob("hyperlane.db.damaged-*").scanSync({ cwd: node.state })].length).toBeGreaterThan(0);
  await node.ok(node.host("start"));
  await node.until(answers, (code) => code === 0);
  await keptNote();
});

it("a full disk: what is asked is refused and has not happened; with room again all goes on", async () => {
  await node.ok(node.host("stop"));
  // The database moves to a small file system of its own.
  const small = `${node.home}/small`;
  const db = `${node.state}/hyperlane.db`;
  const move = (from: string, to: string) =>
    node.ok(node.sh(["sh", "-c", `for f in ${from} ${from}-wal; do [ ! -e $f ] || cp $f ${to}/; done; rm -f ${from}*`]));
  await node.ok(node.sh(["mkdir", small]));
  await Bun.$`mount -t tmpfs -o size=6m tmpfs ${small}`.quiet();
  try {
    await move(db, small);
    await node.ok(node.sh(["ln", "-s", `${small}/hyperlane.db`, db]));
    await node.ok(node.host("start"));
    await node.until(answers, (code) => code === 0);
    await node.sh(["dd", "if=/dev/zero", `of=${small}/filler`, "bs=4k"]);
    let refused: string | undefined;
    for (let i = 0; i < 60 && refused === undefined; i++) {
      const { code, err } = await node.vps("up", `full-${i}`, "--no-wait", "--label", `filler=${"x".repeat(250)}`);
      if (code === 0) continue;
      refused = `full-${i}`;
      expect([code, err]).toEqual([7, expect.stringContaining("Cannot write to the database")]);
    }
    expect((await node.vps("show", refused!)).code).toBe(5);
    expect((await node.machine("one")).state).toBe("running");
    await node.ok(node.sh(["rm", `${small}/filler`]));
    const names = (await node.ok(node.vps("list", "-q"))).split("\n").filter((n) => n.startsWith("full-"));
    for (const name of names) await node.ok(node.vps("destroy", name, "--yes"));
    await keptNote();
  } finally {
    await node.host("stop");
    await node.sh(["rm", "-f", db]);
    await move(`${small}/hyperlane.db`, node.state);
    await Bun.$`umount ${small}`.quiet();
    await node.host("start");
    await node.until(answers, (code) => code === 0);
  }
});
