/** One simulated life: users ask, faults strike, then calm; and what must hold in the end, whatever happened. */
import { plan } from "#control/reconcile/plan.ts";
import { CPU_OVERCOMMIT, usageByNode } from "#control/schedule/place.ts";
import { KINDS } from "#control/model/state.ts";
import type { Machine } from "#contract/resources/machine.ts";
import type { Volume } from "#contract/resources/volume.ts";
import { usersOf } from "#control/api/volumes.ts";
import { createWorld, type World } from "./world.ts";

const NAMES = ["api", "web", "db", "flaky-one", "worker", "fail-boot-x", "crash-loop-y"];
const VOLUMES = ["data", "logs"];
/** What the users were told last: that is what must be so in the end. */
type Told = Map<string, { id: string; power: Machine["power"]; cpu: number; snapshots: Set<string> }>;
/** Of volumes: their size. */
type ToldVolumes = Map<string, number>;

/** forget: the last machine promised is taken out of the state, to see that this is noticed. */
export type SimOptions = { steps?: number; faults?: number; crashAt?: { commit: number; after: boolean }; forget?: boolean };
/** problems: what did not hold; empty means that all did. */
export type SimResult = { seed: number; problems: string[]; log: string[]; commits: number };

export async function simulate(seed: number, { steps = 25, faults = 1, crashAt, forget = false }: SimOptions = {}): Promise<SimResult> {
  const w = await createWorld(seed, { faults, ...(crashAt && { crashAt }) });
  const told: Told = new Map();
  const volumes: ToldVolumes = new Map();
  const busy = new Set<string>();
  try {
    for (let step = 0; step < steps; step++) {
      const name = w.random.pick(NAMES);
      if (!busy.has(name)) {
        busy.add(name);
        void user(w, told, name).finally(() => busy.delete(name));
      }
      const volume = w.random.pick(VOLUMES);
      if (w.random.chance(0.3) && !busy.has(volume)) {
        busy.add(volume);
        void volumeUser(w, volumes, volume).finally(() => busy.delete(volume));
      }
      if (faults > 0 && w.random.chance(0.25 * faults)) w.fault();
      await w.pass(w.random.below(w.random.chance(0.2) ? 6000 : 150));
      check(w);
    }
    w.becalm();
    // Longer than the longest back-off of a machine that keeps crashing, several times over.
    await w.pass(240_000);
    if (busy.size) w.problems.push(`never answered: ${[...busy].join(", ")}`);
    if (forget) w.store.state.machine.delete([...told.values()].at(-1)!.id);
    settled(w, told);
    settledVolumes(w, volumes);
    return { seed, problems: w.problems, log: w.log, commits: w.commits };
  } finally {
    w.close();
  }
}

async function user(w: World, told: Told, name: string): Promise<void> {
  const there = told.get(name);
  const at = `/v1/machines/${name}`;
  const verb = there
    ? w.random.pick([
        "start",
        "stop",
        "restart",
        "pause",
        "resume",
        "scale",
        "snapshot",
        "restore",
        "unsnapshot",
        "destroy",
        "expose",
        "start",
        "migrate",
        "migrate",
        "leave",
      ] as const)
    : "create";
  const ask = async (method: string, path: string, body?: unknown): Promise<Machine | undefined> => {
    const answer = await w.ask(method, path, body);
    w.note(`${verb} ${name}: ${answer.status} ${answer.status === 200 ? "" : answer.body}`);
    if (answer.status >= 500) w.problems.push(`${verb} ${name}: ${answer.body}`);
    return answer.status === 200 ? (JSON.parse(answer.body) as Machine) : undefined;
  };
  if (verb === "create") {
    const cpu = 1 + w.random.below(3);
    const m = await ask("POST", "/v1/machines", { name, spec: { cpu, memoryMib: 256 * (1 + w.random.below(6)) } });
    if (m) told.set(name, { id: m.id, power: "running", cpu, snapshots: new Set() });
  } else if (verb === "destroy") {
    if (await ask("DELETE", at)) told.delete(name);
  } else if (verb === "scale") {
    const cpu = 1 + w.random.below(3);
    if (await ask("PATCH", at, { cpu, restart: w.random.chance(0.5) })) there!.cpu = cpu;
  } else if (verb === "snapshot") {
    const snapshot = `s${w.random.below(3)}`;
    if (await ask("POST", `${at}/snapshots`, { name: snapshot })) there!.snapshots.add(snapshot);
  } else if (verb === "unsnapshot" || verb === "restore") {
    const snapshot = [...there!.snapshots][0];
    if (snapshot === undefined) return;
    if (verb === "restore") await ask("POST", `${at}/snapshots/${snapshot}/restore`);
    else if (await ask("DELETE", `${at}/snapshots/${snapshot}`)) there!.snapshots.delete(snapshot);
  } else if (verb === "expose") {
    await ask("POST", `${at}/exposures`, { port: 80, hostPort: 8000 + w.random.below(4) });
  } else if (verb === "migrate") {
    await ask("POST", `${at}/migrate`);
  } else if (verb === "leave") {
    await ask("DELETE", `${at}/migrate`);
  } else {
    const m = await ask("POST", `${at}/${verb}`);
    if (m) there!.power = verb === "stop" ? "stopped" : verb === "pause" ? "paused" : "running";
  }
}

async function volumeUser(w: World, told: ToldVolumes, name: string): Promise<void> {
  const at = `/v1/volumes/${name}`;
  const ask = async (what: string, method: string, path: string, body?: unknown): Promise<Volume | undefined> => {
    const answer = await w.ask(method, path, body);
    w.note(`${what} ${name}: ${answer.status} ${answer.status === 200 ? "" : answer.body}`);
    if (answer.status >= 500) w.problems.push(`${what} ${name}: ${answer.body}`);
    return answer.status === 200 ? (JSON.parse(answer.body) as Volume) : undefined;
  };
  const machine = w.random.pick(NAMES);
  if (!told.has(name)) {
    const made = await ask("volume", "POST", "/v1/volumes", { name, sizeMib: 64 });
    if (made) told.set(name, 64);
    return;
  }
  switch (w.random.below(6)) {
    case 0:
      return void (await ask("unmount", "DELETE", `/v1/machines/${machine}/mounts/${name}`));
    case 1: {
      const sizeMib = told.get(name)! + 64;
      if (await ask("resize", "PATCH", at, { sizeMib })) told.set(name, sizeMib);
      return;
    }
    case 2:
      if (await ask("remove volume", "DELETE", at)) told.delete(name);
      return;
    case 3:
      return void (await ask("snapshot", "POST", `${at}/snapshots`, { name: "kept" }));
    default:
      await ask("mount", "POST", `/v1/machines/${machine}/mounts`, { volume: name, path: `/${name}`, readonly: w.random.chance(0.3) });
  }
}

/** What holds at any time. */
function check(w: World): void {
  for (const node of w.store.state.node.values()) {
    const used = usageByNode(w.store.state.machine.values(), w.store.state.volume.values()).get(node.id);
    if (used && node.status && (used.cpu > node.status.cpu * CPU_OVERCOMMIT || used.memoryMib > node.status.memoryMib))
      w.problems.push(`${node.id} is overcommitted: ${used.cpu} CPU, ${used.memoryMib} MiB`);
  }
  const slots = new Set<string>();
  for (const m of w.store.state.machine.values()) {
    if (m.node === null) continue;
    if (slots.has(`${m.node} ${m.slot}`)) w.problems.push(`two machines in slot ${m.slot} of ${m.node}`);
    slots.add(`${m.node} ${m.slot}`);
  }
  for (const [volume, users] of usersOf(w.store.state))
    if (users.length > 1 && users.some((u) => !u.readonly && !w.store.state.machine.get(w.store.state.names.get(u.machine)!)!.destroying))
      if (users.filter((u) => !w.store.state.machine.get(w.store.state.names.get(u.machine)!)!.destroying).length > 1)
        w.problems.push(`${volume} is written to by one and used by others`);
  // One that has gone to another node stands still where it was.
  for (const n of w.all)
    for (const [id, process] of n.host.processes)
      if (!process.paused && w.all.some((o) => o !== n && o.host.processes.get(id)?.paused === false))
        w.problems.push(`${id} runs on two nodes`);
}

function settledVolumes(w: World, told: ToldVolumes): void {
  const { state } = w.store;
  for (const [name, sizeMib] of told) {
    const v = state.volume.get(state.volumeNames.get(name) ?? "");
    if (!v || v.sizeMib !== sizeMib) w.problems.push(`the volume ${name} was told to have ${sizeMib} MiB: ${JSON.stringify(v)}`);
    if (!v || v.node === null) continue;
    const disk = w.all.find((n) => n.id === v.node)!.host.volumes.get(v.id);
    if (v.state !== "ready" || disk?.desired.sizeMib !== sizeMib)
      w.problems.push(`the volume ${name} is ${v.state}: ${JSON.stringify(disk)}`);
  }
  for (const v of state.volume.values()) if (!told.has(v.name)) w.problems.push(`the volume ${v.name} is there and nobody was told so`);
  for (const n of w.all)
    for (const id of n.host.volumes.keys())
      if (state.volume.get(id)?.node !== n.id) w.problems.push(`${n.id} holds the volume ${id}, which nobody wants there`);
  for (const m of state.machine.values())
    for (const { volume } of m.spec.mounts) {
      const v = state.volume.get(state.volumeNames.get(volume!) ?? "");
      if (!v || (m.node !== null && v.node !== m.node)) w.problems.push(`${m.name} on ${m.node} mounts ${volume}, which is on ${v?.node}`);
    }
}

/** What holds when the faults are over: desired and observed are one, and the log tells the same story. */
function settled(w: World, told: Told): void {
  const { state } = w.store;
  const bad = (what: string): void => void w.problems.push(what);
  for (const [name, t] of told) {
    const m = state.machine.get(t.id);
    if (!m) bad(`${name} was promised and is gone`);
    else {
      if (m.name !== name || m.power !== t.power) bad(`${name} was told ${t.power} and is asked to be ${m.power}`);
      if (m.spec.cpu !== t.cpu) bad(`${name} was told ${t.cpu} CPU and has ${m.spec.cpu}`);
      const kept = [...(state.snapshotsOf.get(m.id) ?? [])].map((id) => state.snapshot.get(id)!);
      for (const s of kept) if (s.state !== "ready" && m.node !== null) bad(`snapshot ${s.name} of ${name} is still ${s.state}`);
      if (
        kept
          .map((s) => s.name)
          .sort()
          .join() !== [...t.snapshots].sort().join()
      )
        bad(`${name} was told snapshots ${[...t.snapshots].join()} and has ${kept.map((s) => s.name).join()}`);
    }
  }
  for (const m of state.machine.values()) {
    if (m.migration) bad(`${m.name} is still on its way`);
    if (!told.has(m.name) || told.get(m.name)!.id !== m.id) bad(`${m.name} (${m.id}) is there and nobody was told so`);
    if (m.node === null) {
      if (!m.reason?.startsWith("No node takes it")) bad(`${m.name} is on no node, without a reason: ${m.reason}`);
      continue;
    }
    const host = w.all.find((n) => n.id === m.node)!.host;
    const process = host.processes.get(m.id);
    const endless = m.name.startsWith("crash-loop") || m.name.startsWith("fail-boot");
    if (m.state === "failed") {
      if (!m.reason) bad(`${m.name} failed without a reason`);
      if (process) bad(`${m.name} is failed and runs`);
    } else if (m.state === "stopped" && m.power !== "stopped") {
      if (m.observed?.exit !== "powered-off" || process) bad(`${m.name} is stopped and nobody asked for it`);
    } else if (!endless && m.state !== m.power)
      bad(
        `${m.name} is ${m.state} and should be ${m.power} (${m.reason}; observed ${m.observed?.phase} at ${m.observed?.revision} of ${m.revision}, epoch ${m.observed?.epoch} of ${m.epoch}, attempt ${m.attempt}, retry ${m.retryAt})`,
      );
    else if (!endless && (process !== undefined) !== (m.power !== "stopped"))
      bad(`${m.name} is ${m.power} and its process is ${process ? "there" : "gone"}`);
    if (process && !endless && process.epoch !== m.epoch) bad(`${m.name} runs epoch ${process.epoch} and should run ${m.epoch}`);
  }
  for (const n of w.all)
    for (const id of new Set([...n.host.processes.keys(), ...n.host.records.keys()]))
      if (state.machine.get(id)?.node !== n.id) bad(`${n.id} holds ${id}, which nobody wants there`);
  const left = plan({ state, now: w.now, orphans: [], sent: new Map() }).filter(
    (a) => a.kind !== "append" || !["v1.MachineRetried", "v1.MachineRetryScheduled"].includes(a.event.type),
  );
  if (left.length) bad(`the plan is not empty: ${JSON.stringify(left)}`);
  w.store.flush();
  const again = w.store.replay();
  for (const kind of KINDS)
    if (!Bun.deepEquals([...again[kind]].sort(), [...state[kind]].sort())) bad(`replaying the log gives other ${kind}s`);
  const epochs = [...w.all.flatMap((n) => [...n.host.starts])].filter(([, count]) => count > 1);
  if (epochs.length && !w.log.some((l) => l.includes("loses its record") || l.includes("agent of") || l.includes("reboots")))
    bad(`started twice for one epoch: ${epochs.map(([e]) => e).join(", ")}`);
}
