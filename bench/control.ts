/**
 * The control plane under load: durable creates a second with 10,000 machines there, a pass when nothing changed, its
 * memory, and the replay of a long log. Server and client are processes of their own, and share this machine's cores.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { MachineSpec, type Observed } from "#contract/resources/machine.ts";
import type { NewEvent } from "#control/model/state.ts";
import { plan } from "#control/reconcile/plan.ts";
import { openStore } from "#control/store/store.ts";
import { createClient } from "#sdk/client.ts";
import { ROOT } from "#scripts/sh.ts";
import { median, report, type Measure } from "./report.ts";
import { FAKE_MACHINE_IMAGE } from "#tests/fake/host.ts";

const PRESENT = 10_000;
const MEASURED = 6_000;
const CONNECTIONS = 64;
const EVENTS = 1_000_000;

export async function benchControl(): Promise<void> {
  report([...(await api()), ...(await log())]);
}

async function api(): Promise<Measure[]> {
  const server = Bun.spawn([process.execPath, `${ROOT}/bench/serve.ts`], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const first = await server.stdout.getReader().read();
  const { url, token } = JSON.parse(Buffer.from(first.value!).toString()) as { url: string; token: string };
  try {
    await createMany(url, token, "present", PRESENT);
    const client = createClient({ url, token });
    for (;;) {
      const metrics = await client.metrics();
      if (Number(/state="running"} (\d+)/.exec(metrics)?.[1]) >= PRESENT) break;
      await Bun.sleep(200);
    }
    // Until what starting them has left in memory is given back.
    await Bun.sleep(15_000);
    const resident = Number(/resident_memory_bytes (\d+)/.exec(await client.metrics())?.[1]) / 2 ** 20;
    const from = performance.now();
    await createMany(url, token, "more", MEASURED);
    const perSecond = (MEASURED / (performance.now() - from)) * 1000;
    return [
      {
        name: `creates a second, each durable, ${PRESENT} machines there`,
        value: perSecond,
        unit: "/s",
        goal: { at: "least", value: 2000 },
      },
      {
        name: `resident memory with ${PRESENT} machines`,
        value: resident,
        unit: "MiB",
        goal: { at: "most", value: 200 },
      },
    ];
  } finally {
    server.stdin.end();
    await server.exited;
  }
}

/** HTTP/1.1 by hand: a client that costs little, since it shares the cores with what it measures. */
async function createMany(url: string, token: string, prefix: string, count: number): Promise<void> {
  const { hostname, port } = new URL(url);
  let next = 0;
  const request = (): string | undefined => {
    if (next >= count) return undefined;
    const body = JSON.stringify({ name: `${prefix}-${next++}`, spec: { memoryMib: 128 } });
    return `POST /v1/machines HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  };
  await Promise.all(
    Array.from({ length: CONNECTIONS }, () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let held = "";
      const send = (socket: { write(text: string): number; end(): void }): void => {
        const text = request();
        if (text) return void socket.write(text);
        socket.end();
        resolve();
      };
      void Bun.connect({
        hostname,
        port: Number(port),
        socket: {
          open: send,
          data(socket, bytes) {
            held += bytes.toString("latin1");
            const head = held.indexOf("\r\n\r\n");
            if (head < 0 || held.length < head + 4 + Number(/content-length: (\d+)/i.exec(held)?.[1])) return;
            if (!held.startsWith("HTTP/1.1 200")) return reject(new Error(held));
            held = "";
            send(socket);
          },
          error: (_, e) => reject(e),
        },
      });
      return promise;
    }),
  );
}

async function log(): Promise<Measure[]> {
  const dir = mkdtempSync(`${tmpdir()}/hl-bench-`);
  try {
    const store = openStore(`${dir}/db`, Date.now);
    const add = async (events: NewEvent[]): Promise<void> => {
      void store.append(events);
      store.flush();
    };
    const spec = MachineSpec.parse({});
    await add([{ type: "v1.NodeEnrolled", subject: "n-1", actor: "b", data: { name: "n", address: "x" } }]);
    const observed: Observed = {
      phase: "running",
      revision: 0,
      epoch: 1,
      exit: null,
      exitCode: null,
      health: null,
      reason: null,
      steps: [],
      origin: null,
      sleep: { n: 0, refused: null },
      pid: 1,
      address6: "fd00::1",
      address4: "10.0.0.1",
      accelerator: "kvm",
      snapshots: {},
      volumes: {},
      move: null,
      restoredEpoch: 0,
    };
    const ids = Array.from({ length: PRESENT }, (_, i) => `m-${String(i).padStart(12, "0")}`);
    for (let at = 0; at < PRESENT; at += 1000)
      await add(
        ids.slice(at, at + 1000).map((id) => ({
          type: "v1.MachineRequested",
          subject: id,
          actor: "b",
          data: { name: id, labels: {}, spec, image: FAKE_MACHINE_IMAGE, exposures: [], source: null },
        })),
      );
    for (let at = 0; at < PRESENT; at += 1000)
      await add(
        ids
          .slice(at, at + 1000)
          .map((id, i) => ({ type: "v1.MachinePlaced", subject: id, actor: "b", data: { node: "n-1", slot: at + i } })),
      );
    for (let n = 2 * PRESENT; n < EVENTS; n += 1000) {
      const batch = ids.slice(n % PRESENT, (n % PRESENT) + 1000);
      await add(
        batch.map((id) => ({
          type: "v1.MachineObserved",
          subject: id,
          actor: "node:n-1",
          data: { observed: { ...observed, revision: store.state.machine.get(id)!.revision, pid: n } },
        })),
      );
    }
    const passes = Array.from({ length: 30 }, () => {
      const from = performance.now();
      const actions = plan({ state: store.state, now: Date.now(), orphans: [], sent: new Map() });
      if (actions.length) throw new Error("something was to be done");
      return performance.now() - from;
    });
    const from = performance.now();
    const machines = store.replay().machine.size;
    const replayS = (performance.now() - from) / 1000;
    store.close();
    const reopen = performance.now();
    openStore(`${dir}/db`, Date.now).close();
    return [
      { name: `a pass over ${PRESENT} machines, nothing changed`, value: median(passes), unit: "ms", goal: { at: "most", value: 50 } },
      { name: `replay of ${EVENTS} events into ${machines} machines`, value: replayS, unit: "s", goal: { at: "most", value: 5 } },
      { name: `start with that log (its tail checked)`, value: performance.now() - reopen, unit: "ms" },
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
