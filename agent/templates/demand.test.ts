import { expect, test } from "bun:test";
import fc from "fast-check";
import { FORGET_MS, planSpares } from "./demand.ts";

const of = (key: string, starts: number[], memoryMib = 512) => ({ key, memoryMib, starts });
const spare = (id: string, key: string, memoryMib = 512) => ({ id, key, memoryMib });

test("one start makes no demand; from the second on there are as many as came at once", () => {
  expect(planSpares([of("a", [0])], [], 10_000, 1)).toEqual({ dismiss: [], make: null });
  expect(planSpares([of("a", [0, 60_000])], [], 10_000, 60_001)).toEqual({ dismiss: [], make: "a" });
  expect(planSpares([of("a", [0, 60_000])], [spare("1", "a")], 10_000, 60_001)).toEqual({ dismiss: [], make: null });
  expect(planSpares([of("a", [0, 1, 2])], [spare("1", "a"), spare("2", "a")], 10_000, 3)).toEqual({ dismiss: [], make: "a" });
});

test("what is not wanted any more goes: after a while, without room, of a template that is gone", () => {
  const spares = [spare("1", "a"), spare("2", "a"), spare("3", "b")];
  expect(planSpares([of("a", [0, 1])], spares, 10_000, FORGET_MS + 2)).toEqual({ dismiss: ["1", "2", "3"], make: null });
  expect(planSpares([of("a", [0, 1])], spares, 10_000, 2)).toEqual({ dismiss: ["3"], make: null });
  expect(planSpares([of("a", [0, 1])], spares, 1_100, 2)).toEqual({ dismiss: ["2", "3"], make: null });
});

test("never more than half of the room, whoever wants them", () => {
  const demand = fc.record({
    key: fc.constantFrom("a", "b", "c"),
    starts: fc.array(fc.nat(20_000)),
    memoryMib: fc.integer({ min: 64, max: 2048 }),
  });
  fc.assert(
    fc.property(fc.uniqueArray(demand, { selector: (d) => d.key }), fc.nat(20_000), (demands, roomMib) => {
      let spares: ReturnType<typeof spare>[] = [];
      for (let i = 0; ; i++) {
        const { dismiss, make } = planSpares(demands, spares, roomMib, 20_000);
        spares = spares.filter((s) => !dismiss.includes(s.id));
        if (make === null) break;
        spares.push(spare(String(i), make, demands.find((d) => d.key === make)!.memoryMib));
      }
      expect(spares.reduce((sum, s) => sum + s.memoryMib, 0)).toBeLessThanOrEqual(roomMib / 2);
      for (const d of demands) expect(spares.filter((s) => s.key === d.key).length).toBeLessThanOrEqual(d.starts.length);
    }),
  );
});
