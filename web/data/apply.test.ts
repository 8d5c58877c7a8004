import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Machine } from "#contract/resources/machine.ts";
import type { Changes } from "#contract/resources/other.ts";
import { agedBy, applyMachines, join } from "./apply.ts";

const machine = (id: string, revision = 0) => ({ id, revision }) as Machine;
const changes = (seq: number, machines: Machine[] = [], gone: string[] = []): Changes => ({ seq, events: [], machines, gone });

test("machines come, change and go; nothing new is the same map", () => {
  const before = new Map([["m-a", machine("m-a")]]);
  expect(applyMachines(before, changes(1, [], ["m-x"]))).toBe(before);
  const after = applyMachines(before, changes(2, [machine("m-b")], ["m-a"]));
  expect([[...after.keys()], before.size]).toEqual([["m-b"], 1]);
});

test("messages joined and applied at once are messages applied one after another", () => {
  const id = fc.constantFrom("m-a", "m-b", "m-c");
  // A message says of each machine one thing: how it is, or that it is gone.
  const message = fc.dictionary(id, fc.option(fc.nat(9))).map((said) =>
    changes(
      1,
      Object.entries(said).flatMap(([k, v]) => (v === null ? [] : [machine(k, v)])),
      Object.entries(said).flatMap(([k, v]) => (v === null ? [k] : [])),
    ),
  );
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), (messages) => {
      const start = new Map([["m-a", machine("m-a", 99)]]);
      const one = messages.reduce(applyMachines, start as ReadonlyMap<string, Machine>);
      const all = applyMachines(start, messages.reduce(join));
      expect(new Map([...all].sort())).toEqual(new Map([...one].sort()));
    }),
  );
});

test("what an event makes old is read again, and nothing else", () => {
  const aged = (...types: string[]) => agedBy(types.map((type) => ({ type })));
  expect(aged("v1.MachineObserved")).toEqual([]);
  expect(aged("v1.ImageStored")).toEqual(["images"]);
  expect(aged("v1.MachineDestroyed", "v1.TokenRemoved")).toEqual(["devices", "volumes", "networks", "tokens", "sessions"]);
});
