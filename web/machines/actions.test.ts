import { expect, test } from "bun:test";
import { can, MACHINE_STATES, VERBS, type Verb } from "#contract/resources/states.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { CAPABILITIES, DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import { ACTION_NAMES, ACTIONS, refusal, whyNot, type Runtime, type Who } from "./actions.ts";

const runtimes = Object.entries(CAPABILITIES).map(([name, can]) => ({
  name,
  default: name === DEFAULT_RUNTIME,
  nodes: [],
  lacking: [],
  ...can,
})) as Runtime[];
const admin: Who = { admin: true, runtimes };
const machine = (state: Machine["state"], more: Partial<Machine> = {}) =>
  ({ state, destroying: false, spec: { runtime: null }, ...more }) as Machine;

test("every verb, in every state: offered just where the state table accepts it", () => {
  for (const verb of Object.keys(VERBS) as Verb[])
    for (const state of MACHINE_STATES)
      expect([verb, state, refusal(verb, machine(state), admin) === null]).toEqual([verb, state, can(verb, state)]);
});

test("a button that is off says why, and is on only where it changes something", () => {
  for (const name of ACTION_NAMES)
    for (const state of MACHINE_STATES) {
      const why = whyNot(name, machine(state), admin);
      expect(why === null).toBe(can(name, state) && ACTIONS[name].already[state] === undefined);
      if (why !== null) expect(why.length).toBeGreaterThan(4);
    }
  expect(whyNot("pause", machine("stopped"), admin)).toBe("It is stopped; it must be running or paused or standby");
});

test("a viewer only looks; what is being destroyed takes nothing; a runtime does what its table says", () => {
  expect(whyNot("stop", machine("running"), { ...admin, admin: false })).toContain("viewer");
  expect(refusal("logs", machine("running"), { ...admin, admin: false })).toBeNull();
  expect(whyNot("stop", machine("running", { destroying: true }), admin)).toContain("destroyed");
  const container = machine("running", { spec: { runtime: "docker" } as Machine["spec"] });
  expect(whyNot("standby", container, admin)).toBe("docker cannot do this");
  expect(whyNot("pause", container, admin)).toBeNull();
  expect(refusal("snapshot", container, admin)).toBe("docker cannot do this");
});
