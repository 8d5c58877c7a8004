import { expect, test } from "bun:test";
import { MachineSpec, type Observed } from "#contract/resources/machine.ts";
import { canBecome, MACHINE_STATES } from "#contract/resources/states.ts";
import { emptyState, reduce, type NewEvent, type State, type StoredEvent } from "#control/model/state.ts";
import { backoffMs, MAX_ATTEMPTS, plan } from "./plan.ts";

const status = {
  version: "0",
  bootId: "b",
  cpu: 4,
  memoryMib: 4096,
  diskMib: 100_000,
  diskFreeMib: 90_000,
  accelerator: "tcg" as const,
  acceleratorReason: "",
  storage: "sparse" as const,
  runtimes: ["qemu"],
  images: [],
};
const seen: Observed = {
  phase: "running",
  revision: 0,
  epoch: 1,
  exit: null,
  reason: null,
  steps: [],
  pid: 1,
  address6: null,
  address4: null,
  accelerator: "tcg",
  snapshots: {},
  restoredEpoch: 0,
  images: {},
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
      append({ type: "v1.MachineRequested", subject: id, actor: "t", data: { name: id, labels: {}, spec: MachineSpec.parse(spec) } }),
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

test("no overcommit: what does not fit waits, with the reason, and goes on when there is room", () => {
  const w = world();
  w.up("m-1", { cpu: 3 });
  w.up("m-2", { cpu: 2 });
  w.settle();
  expect(w.machine("m-2").reason).toBe("No node takes it. one: 2 CPU asked, 1 of 4 free");
  w.append({ type: "v1.MachineDestroyRequested", subject: "m-1", actor: "t", data: {} });
  w.observe({ phase: "absent" }, "m-1");
  w.settle();
  expect(w.machine("m-2").node).toBe("n-1");
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
  w.append({ type: "v1.MachineSpecChanged", subject: "m-1", actor: "t", data: { spec: MachineSpec.parse({ cpu: 2 }), labels: {} } });
  expect([w.machine().needsRestart, w.machine().state]).toEqual([true, "running"]);
  w.append({ type: "v1.MachinePowerRequested", subject: "m-1", actor: "t", data: { power: "running", epoch: 2 } });
  expect(w.machine().needsRestart).toBe(false);
});
