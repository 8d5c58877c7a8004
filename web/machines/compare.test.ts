import { expect, test } from "bun:test";
import type { Machine, Observed } from "#contract/resources/machine.ts";
import { compare } from "./compare.ts";

const observed = (more: Partial<Observed> = {}) =>
  ({
    ...{ phase: "running", revision: 5, epoch: 1, reason: null, health: null, snapshots: {}, volumes: {}, restoredEpoch: 0 },
    ...{ sleep: { n: 0, refused: null }, ...more },
  }) as Observed;
const machine = (more: Partial<Machine> = {}) =>
  ({
    ...{ power: "running", state: "running", revision: 5, epoch: 1, attempt: 0, retryAt: null, destroying: false, needsRestart: false },
    ...{ restore: null, reason: null, spec: { restart: "on-failure", mounts: [] }, observed: observed(), ...more },
  }) as Machine;
const differs = (m: Machine, ...rest: [ReadonlyMap<string, string>?, { id: string; name: string; state: string }[]?]) =>
  compare(m, rest[0] ?? new Map(), rest[1] ?? [])
    .filter((r) => r.same === false)
    .map((r) => r.what);

test("what is as it should be does not differ; what is not, does, and says why", () => {
  expect(differs(machine())).toEqual([]);
  expect(differs(machine({ observed: null }))).toEqual(["Power"]);
  expect(differs(machine({ power: "stopped", revision: 9 }))).toEqual(["Power", "Revision"]);
  expect(differs(machine({ observed: observed({ phase: "standby" }) }))).toEqual([]);
  expect(differs(machine({ epoch: 2, needsRestart: true }))).toEqual(["Start", "Spec"]);
  expect(differs(machine({ restore: { snapshot: "s-1", epoch: 1 } }))).toEqual(["Roll back"]);
  const failed = compare(machine({ observed: observed({ phase: "failed", reason: "Kernel panic" }) }), new Map(), [])[0];
  expect([failed?.same, failed?.why]).toEqual([false, "Kernel panic"]);
});

test("volumes, snapshots and health are looked at one by one", () => {
  const mounts = [{ volume: "data", folder: null, path: "/data", readonly: false }];
  const spec = { restart: "no", mounts } as unknown as Machine["spec"];
  const names = new Map([["v-1", "data"]]);
  expect(differs(machine({ spec }), names)).toEqual(["Volume data"]);
  expect(differs(machine({ spec, observed: observed({ volumes: { "v-1": { attached: true, reason: null } } }) }), names)).toEqual([]);
  expect(differs(machine({ spec, power: "stopped", observed: observed({ phase: "stopped" }) }), names)).toEqual([]);
  expect(differs(machine(), new Map(), [{ id: "s-1", name: "before", state: "creating" }])).toEqual(["Snapshot before"]);
  expect(differs(machine({ observed: observed({ health: "unhealthy" }) }))).toEqual(["Health"]);
});
