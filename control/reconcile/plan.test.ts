import { expect, test } from "bun:test";
import { MachineSpec, type Observed } from "#contract/resources/machine.ts";
import { canBecome, MACHINE_STATES } from "#contract/resources/states.ts";
import { emptyState, reduce, type NewEvent, type State, type StoredEvent } from "#control/model/state.ts";
import { FAKE_IMAGE, FAKE_MACHINE_IMAGE } from "#tests/fake/host.ts";
import { ingest } from "#control/agents/ingest.ts";
import { CPU_OVERCOMMIT } from "#control/schedule/place.ts";
import { backoffMs, MAX_ATTEMPTS, plan } from "./plan.ts";

const status = {
  version: "0",
  bootId: "b",
  cpu: 4,
  memoryMib: 4096,
  diskMib: 100_000,
  diskFreeMib: 90_000,
  accelerator: "tcg" as const,
  compatibility: "",
  acceleratorReason: "",
  storage: "sparse" as const,
  runtimes: ["qemu"],
  images: [{ rootfs: FAKE_IMAGE.rootfs, bytes: 1 }],
  folders: [],
  devices: [],
  templates: [],
  lacking: [],
};
const seen: Observed = {
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
  address6: null,
  address4: null,
  accelerator: "tcg",
  snapshots: {},
  volumes: {},
  move: null,
  restoredEpoch: 0,
};

function world() {
  const state: State = emptyState();
  let seq = 0;
  let now = 1_000;
  const append = (event: NewEvent): void => void reduce(state, { ...event, seq: ++seq, at: now } as StoredEvent);
  const settle = () => {
    for (let i = 0; i < 20; i++) {
      const actions = plan({ state, now, orphans: [], sent: new Map() });
      const facts = actions.flatMap((a) => (a.kind === "append" ? [a.event] : []));
      if (!facts.length) return actions;
      facts.forEach(append);
    }
    throw new Error("facts keep following from facts");
  };
  append({ type: "v1.NodeEnrolled", subject: "n-1", actor: "t", data: { name: "one", address: "x" } });
  append({ type: "v1.NodeConnected", subject: "n-1", actor: "t", data: { status } });
  return {
    state,
    append,
    settle,
    wait: (ms: number) => void (now += ms),
    up: (id = "m-1", spec = {}) =>
      append({
        type: "v1.MachineRequested",
        subject: id,
        actor: "t",
        data: { name: id, labels: {}, spec: MachineSpec.parse(spec), image: FAKE_MACHINE_IMAGE, exposures: [], source: null },
      }),
    machine: (id = "m-1") => state.machine.get(id)!,
    observe: (change: Partial<Observed>, id = "m-1") =>
      append({
        type: "v1.MachineObserved",
        subject: id,
        actor: "node:n-1",
        data: { observed: { ...seen, revision: state.machine.get(id)!.revision, epoch: state.machine.get(id)!.epoch, ...change } },
      }),
  };
}

test("a requested machine is placed and its document sent; once it runs, nothing is left to do", () => {
  const w = world();
  w.up();
  expect(w.settle()).toEqual([{ kind: "apply", node: "n-1", machine: "m-1", revision: w.machine().revision }]);
  expect(w.machine().state).toBe("provisioning");
  w.observe({});
  expect(w.machine().state).toBe("running");
  expect(w.settle()).toEqual([]);
});

test("no overcommit of RAM: what does not fit waits, with the reason, and goes on when there is room", () => {
  const w = world();
  w.up("m-1", { memoryMib: 3072 });
  w.up("m-2", { memoryMib: 2048 });
  w.settle();
  expect(w.machine("m-2").reason).toBe("No node takes it. one: 2G RAM asked, 1G of 4G free");
  w.append({ type: "v1.MachineDestroyRequested", subject: "m-1", actor: "t", data: {} });
  w.observe({ phase: "absent" }, "m-1");
  w.settle();
  expect(w.machine("m-2").node).toBe("n-1");
});

test("CPUs are promised several times over, but no machine gets more than there are", () => {
  const w = world();
  for (let i = 0; i < CPU_OVERCOMMIT; i++) w.up(`m-${i}`, { cpu: 4, memoryMib: 128 });
  w.up("m-one-more", { cpu: 1, memoryMib: 128 });
  w.up("m-large", { cpu: 5, memoryMib: 128 });
  w.settle();
  expect([...w.state.machine.values()].filter((m) => m.node !== null).length).toBe(CPU_OVERCOMMIT);
  expect(w.machine("m-one-more").reason).toBe("No node takes it. one: 1 CPU asked, 0 of 32 (4, each promised 8 times) free");
  expect(w.machine("m-large").reason).toBe("No node takes it. one: 5 CPU asked, and it has 4");
});

test("a crash is retried with back-off, a bounded number of times, then it is a failure with its reason", () => {
  const w = world();
  w.up();
  w.settle();
  for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
    w.observe({ phase: "exited", exit: "crashed", reason: "boom", pid: null });
    w.settle();
    expect([w.machine().attempt, w.machine().retryAt !== null]).toEqual([attempt, true]);
    w.wait(backoffMs(attempt));
    expect(w.settle()).toHaveLength(1);
    expect(w.machine().epoch).toBe(attempt + 1);
  }
  w.observe({ phase: "exited", exit: "crashed", reason: "boom", pid: null });
  expect(w.settle()).toEqual([]);
  expect([w.machine().state, w.machine().reason]).toEqual(["failed", "boom (after 5 attempts)"]);
});

test("a machine powered off from inside stays off; one whose host restarted comes back at once", () => {
  const w = world();
  w.up();
  w.settle();
  w.observe({});
  w.observe({ phase: "exited", exit: "powered-off" });
  expect([w.settle(), w.machine().state]).toEqual([[], "stopped"]);
  w.up("m-2");
  w.settle();
  w.observe({}, "m-2");
  w.observe({ phase: "exited", exit: "host-rebooted" }, "m-2");
  w.settle();
  expect([w.machine("m-2").epoch, w.machine("m-2").attempt]).toEqual([2, 0]);
});

test("the state table: destroyed is final, and every other state can be destroyed", () => {
  for (const state of MACHINE_STATES) expect(canBecome(state, "destroyed")).toBe(true);
  for (const state of MACHINE_STATES) if (state !== "destroyed") expect(canBecome("destroyed", state)).toBe(false);
});

test("a change of a running machine waits for its next start, and says so until then", () => {
  const w = world();
  w.up();
  w.settle();
  w.observe({});
  w.append({
    type: "v1.MachineSpecChanged",
    subject: "m-1",
    actor: "t",
    data: { spec: MachineSpec.parse({ cpu: 2 }), labels: {}, image: FAKE_MACHINE_IMAGE },
  });
  expect([w.machine().needsRestart, w.machine().state]).toEqual([true, "running"]);
  w.append({ type: "v1.MachinePowerRequested", subject: "m-1", actor: "t", data: { power: "running", epoch: 2 } });
  expect(w.machine().needsRestart).toBe(false);
});

test("what a node lacks is sent to it until it has it, and what nobody needs is removed there", () => {
  const w = world();
  w.append({
    type: "v1.NodeObserved",
    subject: "n-1",
    actor: "t",
    data: { status: { ...status, images: [{ rootfs: "f".repeat(64), bytes: 1 }] } },
  });
  w.up();
  const kinds = w.settle().map((a) => a.kind);
  expect(kinds.sort()).toEqual(["apply", "removeImage", "sendImage"]);
  w.append({ type: "v1.NodeObserved", subject: "n-1", actor: "t", data: { status } });
  expect(w.settle().map((a) => a.kind)).toEqual(["apply"]);
});

/** What becomes of a machine whose workload ended: [state, starts again]. */
function afterEnd(restart: string, change: Partial<Observed>, times = 1): [string, boolean] {
  const w = world();
  w.up("m-1", { restart });
  w.settle();
  for (let i = 0; i < times; i++) {
    w.observe({});
    w.observe({ phase: "exited", exit: "exited", exitCode: 0, reason: "ended", ...change });
    w.settle();
    if (i < times - 1) (w.wait(120_000), w.settle());
  }
  return [w.machine().state, w.machine().retryAt !== null];
}

test("restart policies, in Docker's words", () => {
  expect(afterEnd("no", { exitCode: 3 })).toEqual(["stopped", false]);
  expect(afterEnd("on-failure", { exitCode: 0 })).toEqual(["stopped", false]);
  expect(afterEnd("on-failure", { exitCode: 3 })).toEqual(["provisioning", true]);
  expect(afterEnd("on-failure:2", { exitCode: 3 }, 2)).toEqual(["provisioning", true]);
  expect(afterEnd("on-failure:2", { exitCode: 3 }, 3)).toEqual(["stopped", false]);
  expect(afterEnd("on-failure", { exit: "out-of-memory", exitCode: 137 })).toEqual(["provisioning", true]);
  for (const policy of ["always", "unless-stopped"]) expect(afterEnd(policy, { exitCode: 0 }, 20)).toEqual(["provisioning", true]);
  expect(afterEnd("no", { exit: "host-rebooted", exitCode: null })).toEqual(["stopped", false]);
  expect(afterEnd("no", { exit: "panicked", exitCode: null })).toEqual(["failed", false]);
});

test("a machine that removes itself is there a little longer than its workload", () => {
  const w = world();
  w.up("m-1", { restart: "no", autoRemove: true });
  w.settle();
  w.observe({});
  w.observe({ phase: "exited", exit: "exited", exitCode: 0, reason: "ended" });
  w.settle();
  expect([w.machine().state, w.machine().destroying]).toEqual(["stopped", false]);
  w.wait(10_001);
  w.settle();
  expect(w.machine().destroying).toBe(true);
});

/** One that is on its way from "one" to "two". */
function onItsWay() {
  const w = world();
  w.up();
  w.settle();
  w.observe({});
  w.append({ type: "v1.NodeEnrolled", subject: "n-2", actor: "t", data: { name: "two", address: "y" } });
  w.append({ type: "v1.NodeConnected", subject: "n-2", actor: "t", data: { status } });
  w.append({ type: "v1.MachineMigrationRequested", subject: "m-1", actor: "t", data: { to: "n-2", slot: 3 } });
  const { n } = w.machine().migration!;
  const move = (stage: "moving" | "done" | "failed", reason: string | null = null) => ({ n, stage, reason });
  return {
    ...w,
    here: (stage: "moving" | "done" | "failed", reason: string | null = null) => w.observe({ move: move(stage, reason) }),
    there: (stage: "moving" | "done" | "failed", reason: string | null = null) =>
      w.append({ type: "v1.MachineArriving", subject: "m-1", actor: "node:n-2", data: { seen: move(stage, reason) } }),
  };
}

test("a machine is the other node's once both ends are done, and not before", () => {
  for (const order of [
    ["here", "there"],
    ["there", "here"],
  ] as const) {
    const w = onItsWay();
    expect(w.settle().map((a) => a.kind === "apply" && a.node)).toEqual(["n-1", "n-2"]);
    w.here("moving");
    w.there("moving");
    w.settle();
    w[order[0]]("done");
    w.settle();
    expect([w.machine().node, w.machine().migration !== null]).toEqual(["n-1", true]);
    w[order[1]]("done");
    w.settle();
    expect(w.machine()).toMatchObject({ node: "n-2", slot: 3, state: "running", migration: null, moved: { to: "n-2", reason: null } });
    // Its node has yet to hear of that.
    const says = (observed: Observed) =>
      ingest(w.state, "n-2", { sequence: 1, status: null, full: false, machines: [{ id: "m-1", observed }], volumes: [] }).events;
    const waiting: Observed = { ...seen, phase: "preparing", move: { n: w.machine().moved!.n, stage: "done", reason: null } };
    expect(says(waiting)).toEqual([]);
    expect(says({ ...waiting, move: null })).toHaveLength(1);
  }
});

test("whatever goes wrong on the way leaves it where it is", () => {
  for (const [happens, reason] of [
    [(w: ReturnType<typeof onItsWay>) => w.here("failed", "no disk"), "no disk"],
    [(w: ReturnType<typeof onItsWay>) => (w.here("done"), w.there("failed", "no room")), "no room"],
    [(w: ReturnType<typeof onItsWay>) => w.observe({ phase: "exited", exit: "crashed", reason: "boom", pid: null }), "boom"],
    [
      (w: ReturnType<typeof onItsWay>) => {
        w.append({ type: "v1.NodeLost", subject: "n-2", actor: "t", data: { reason: "cut" } });
        w.settle();
        expect(w.machine().migration).not.toBeNull();
        w.wait(30_001);
      },
      "the node two is away",
    ],
    [
      (w: ReturnType<typeof onItsWay>) =>
        w.append({ type: "v1.MachinePowerRequested", subject: "m-1", actor: "t", data: { power: "stopped", epoch: 1 } }),
      "something else was asked of it meanwhile",
    ],
  ] as const) {
    const w = onItsWay();
    happens(w);
    w.settle();
    expect(w.machine()).toMatchObject({ node: "n-1", migration: null, moved: { to: "n-2", reason } });
  }
});
