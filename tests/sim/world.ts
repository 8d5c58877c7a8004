/**
 * A world in one process: the real control plane (core, API calls, SQLite log) on a virtual clock, pretended nodes, and
 * between them a network that loses, doubles, delays and reorders. Everything random comes from one seed, so a
 * failing seed is a bug report. A crash of the control plane keeps exactly what was committed to its database.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { startCore, type Core, type Session } from "#control/core.ts";
import { call, type Outgoing } from "#control/api/call.ts";
import type { Deps } from "#control/api/handler.ts";
import { hashSecret } from "#control/auth/tokens.ts";
import { openStore, type Store } from "#control/store/store.ts";
import type { ApplyRequest, Observation } from "#contract/wire/agent.ts";
import {
  createFakeHost,
  createFakeLanes,
  createFakeVolumes,
  FAKE_IMAGE,
  fakeStatus,
  type FakeHost,
  type FakeLanes,
  type FakeVolumes,
} from "#tests/fake/host.ts";

export const SECRET = "hl_simulation";
const SIZE = { cpu: 6, memoryMib: 4096, diskMib: 100_000 };
const HEARTBEAT_MS = 5_000;
/** Rounds of promise callbacks after each event: more than any chain of ours is long. */
const MICROTASKS = 30;

type NodeWorld = {
  id: string;
  host: FakeHost;
  lanes: FakeLanes;
  volumes: FakeVolumes;
  up: boolean;
  stop: () => void;
  connection: number;
  sequence: number;
  session: Session | undefined;
};
export type World = Awaited<ReturnType<typeof createWorld>>;

function idsOf(n: NodeWorld): string[] {
  return [...n.lanes.ids(), ...n.volumes.ids()];
}

export function randomFrom(seed: number) {
  let a = seed >>> 0;
  const next = (): number => {
    // mulberry32
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    below: (n: number) => Math.floor(next() * n),
    chance: (p: number) => next() < p,
    pick: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!,
  };
}

/** faults: 0 none, 1 all. crashAt: the control plane crashes at these commits (counted from 1), before or after each. */
export async function createWorld(
  seed: number,
  { nodes = 2, faults = 1, crashAt }: { nodes?: number; faults?: number; crashAt?: { commit: number; after: boolean } } = {},
) {
  const random = randomFrom(seed);
  const dir = mkdtempSync(`${existsSync("/dev/shm") ? "/dev/shm" : tmpdir()}/hl-sim-`);
  let now = 1_000_000;
  let generation = 0;
  let commits = 0;
  let calm = faults === 0;
  const queue: { at: number; order: number; run: () => void }[] = [];
  let order = 0;
  const after = (ms: number, run: () => void): (() => void) => {
    const item = { at: now + ms, order: order++, run };
    queue.push(item);
    return () => {
      const i = queue.indexOf(item);
      if (i >= 0) queue.splice(i, 1);
    };
  };
  const clock = { now: () => now, after };
  const log: string[] = [];
  const note = (line: string): void => void log.push(`${now - 1_000_000} ${line}`);
  const problems: string[] = [];
  let serial = 0;

  // ---- the control plane ----

  let store: Store;
  let core: Core;
  let alive = false;
  let crashed = Promise.withResolvers<undefined>();
  const path = (): string => `${dir}/db-${generation}`;

  function boot(): void {
    const mine = generation;
    // Commits come a little after appends, so that a crash can fall in between.
    store = openStore(path(), clock.now, () => void after(1 + random.below(4), () => mine === generation && commit()));
    if (generation === 0) {
      void store.append([
        { type: "v1.TokenCreated", subject: "t-admin", actor: "init", data: { name: "admin", role: "admin", hash: hashSecret(SECRET) } },
        { type: "v1.ImageStored", subject: "i-debian", actor: "init", data: FAKE_IMAGE },
        ...all.map((n) => ({ type: "v1.NodeEnrolled" as const, subject: n.id, actor: "init", data: { name: n.id, address: n.id } })),
      ]);
      store.flush();
    }
    core = startCore({
      store,
      clock,
      identityOf: () => ({ hostKey: "", hostCertificate: "", userCa: "", principals: [] }),
      apply: (node, request) => send(mine, node, request),
      moveImage: (move) => void (move.kind === "sendImage" && sendImage(move.node, move.rootfs)),
      log(line) {
        if (/invariant|cannot go|BUG|TypeError/.test(line)) problems.push(line);
        note(line);
      },
    });
    store.flush();
    alive = true;
    for (const n of all) connect(n);
  }

  function commit(): void {
    commits++;
    if (crashAt && commits === crashAt.commit) {
      if (crashAt.after) store.flush();
      return crash();
    }
    store.flush();
  }

  /** What a power cut leaves: the file and its write-ahead log as they are. */
  function crash(): void {
    note("control plane crashes");
    alive = false;
    core.stop();
    const from = path();
    generation++;
    crashed.resolve(undefined);
    crashed = Promise.withResolvers();
    for (const suffix of ["", "-wal"]) if (existsSync(`${from}${suffix}`)) copyFileSync(`${from}${suffix}`, `${path()}${suffix}`);
    store.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${from}${suffix}`, { force: true });
    after(10 + random.below(500), boot);
  }

  /** One call of the API, sent again with its key until it is answered, as the SDK's callers do. */
  async function ask(method: string, pathname: string, body: unknown = {}): Promise<Outgoing> {
    const key = `k${++serial}`;
    for (;;) {
      if (alive) {
        const mine = generation;
        const deps: Deps = {
          store,
          version: "sim",
          startedAt: 0,
          now: clock.now,
          newId: (kind) => `${kind}-${String(++serial).padStart(12, "a")}`,
          ssh: undefined as never,
          connections: undefined as never,
          images: undefined as never,
          links: undefined as never,
          certificates: [],
          enrol: async () => "",
          jwtSecret: null,
          maxDiskMib: null,
        };
        const answer = await Promise.race([
          call(deps, { method, pathname, search: "", secret: SECRET, idempotencyKey: key, text: JSON.stringify(body) }, (line) =>
            problems.push(line),
          ),
          crashed.promise,
        ]);
        // An answer may be lost on its way; the caller then asks again.
        if (answer && mine === generation && (calm || !random.chance(0.05))) return answer;
      }
      await new Promise<void>((done) => after(50, done));
    }
  }

  // ---- nodes and the network ----

  const all: NodeWorld[] = Array.from({ length: nodes }, (_, i) => {
    const host = createFakeHost();
    return {
      id: `n-${i}`,
      host,
      lanes: undefined as never,
      volumes: undefined as never,
      up: true,
      stop: () => {},
      connection: 0,
      sequence: 0,
      session: undefined,
    };
  });
  for (const n of all) startAgent(n);

  function startAgent(n: NodeWorld): void {
    n.lanes?.close();
    n.stop();
    n.lanes = createFakeLanes(n.host, clock, () => 5 + random.below(60));
    n.volumes = createFakeVolumes(n.host);
    const stops = [n.lanes.onChange((id) => report(n, false, [id])), n.volumes.onChange((id) => report(n, false, [id]))];
    n.stop = () => stops.forEach((stop) => stop());
    connect(n);
  }

  function connect(n: NodeWorld): void {
    const connection = ++n.connection;
    n.sequence = 0;
    n.session = alive ? core.session(n.id) : undefined;
    const beat = (): void => {
      if (connection !== n.connection) return;
      report(n, true, idsOf(n));
      after(HEARTBEAT_MS, beat);
    };
    if (n.up) beat();
  }

  /** Hands something over as a bad network would: late, twice, never, or behind what was sent after it. */
  function deliver(run: () => void): void {
    if (calm) return void after(1, run);
    if (random.chance(0.08 * faults)) return;
    after(1 + random.below(40), run);
    if (random.chance(0.08 * faults)) after(1 + random.below(3000), run);
  }

  function report(n: NodeWorld, full: boolean, ids: string[]): void {
    if (!n.up) return;
    const machines = ids.flatMap((id) => {
      const observed = n.lanes.observe(id);
      return observed ? [{ id, observed: structuredClone(observed) }] : [];
    });
    const volumes = ids.flatMap((id) => {
      const observed = n.volumes.observe(id);
      return observed ? [{ id, observed: structuredClone(observed) }] : [];
    });
    const session = n.session;
    const observation: Observation = { sequence: ++n.sequence, status: full ? fakeStatus(n.host, SIZE) : null, full, machines, volumes };
    const to = generation;
    deliver(() => {
      // A connection ends with the process it was made to.
      if (alive && to === generation) session?.observe(observation);
    });
  }

  async function send(from: number, node: string, request: ApplyRequest): Promise<void> {
    const n = all.find((x) => x.id === node)!;
    const message = structuredClone(request);
    // What has crashed sends nothing any more.
    if (from !== generation) return;
    if (!n.up) throw new Error("not connected");
    deliver(() => {
      if (!n.up || (from !== generation && random.chance(0.5))) return;
      for (const v of message.volumes) n.volumes.apply(v);
      for (const m of message.machines) n.lanes.apply(m);
      for (const image of message.removeImages) n.host.images.delete(image);
    });
  }

  function sendImage(node: string, rootfs: string): void {
    const n = all.find((x) => x.id === node)!;
    if (n.up) deliver(() => n.up && (n.host.images.add(rootfs), report(n, true, idsOf(n))));
  }

  function cut(n: NodeWorld): void {
    note(`${n.id} is cut off`);
    n.up = false;
    n.connection++;
    const session = n.session;
    after(200, () => alive && session?.lost("cut off"));
    after(500 + random.below(8000), () => heal(n));
  }

  function heal(n: NodeWorld): void {
    if (n.up) return;
    n.up = true;
    connect(n);
  }

  function fault(): void {
    const n = random.pick(all);
    switch (random.below(7)) {
      case 0:
        return alive ? crash() : undefined;
      case 1:
        return (note(`agent of ${n.id} restarts`), startAgent(n));
      case 2:
        return cut(n);
      case 3: {
        const id = random.pick([...n.host.processes.keys()]);
        return id === undefined
          ? undefined
          : (note(`VMM of ${id} is killed`), n.lanes.kill(id, random.chance(0.3) ? "powered-off" : "crashed"));
      }
      case 4:
        note(`${n.id} reboots`);
        for (const id of [...n.host.processes.keys()]) (n.host.processes.delete(id), n.host.ends.set(id, "host-rebooted"));
        return startAgent(n);
      case 5: {
        const id = random.pick([...n.host.records.keys()]);
        if (id !== undefined && random.chance(0.2)) (note(`${n.id} loses its record of ${id}`), n.host.records.delete(id), startAgent(n));
        return;
      }
      default:
        return;
    }
  }

  /** Lets virtual time pass. */
  async function pass(ms: number): Promise<void> {
    const until = now + ms;
    for (;;) {
      for (let i = 0; i < MICROTASKS; i++) await null;
      let next: (typeof queue)[number] | undefined;
      for (const item of queue) if (!next || item.at < next.at || (item.at === next.at && item.order < next.order)) next = item;
      if (!next || next.at > until) break;
      queue.splice(queue.indexOf(next), 1);
      now = Math.max(now, next.at);
      next.run();
    }
    now = until;
  }

  boot();
  return {
    random,
    log,
    problems,
    all,
    ask,
    pass,
    fault,
    note,
    get store() {
      return store;
    },
    get now() {
      return now;
    },
    get commits() {
      return commits;
    },
    /** No more faults; what is broken heals. */
    becalm(): void {
      calm = true;
      for (const n of all) heal(n);
    },
    close(): void {
      alive = false;
      core.stop();
      for (const n of all) n.lanes.close();
      store.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
