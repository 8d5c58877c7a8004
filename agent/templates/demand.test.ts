import { expect, test } from "bun:test";
import fc from "fast-check";
import { FORGET_MS, planSpares } from "./demand.ts";

const of = (key: string, starts: number[], memoryMib = 512) => ({ key, memoryMib, starts: starts.map((at) => ({ at, beside: 1 })) });
const spare = (id: string, key: string) => ({ id, key });

test("one start makes no demand; from the second on there are as many as came at once", () => {
  expect(planSpares([of("a", [0])], [], 10_000, 1)).toEqual({ dismiss: [], make: null });
  expect(planSpares([of("a", [0, 60_000])], [], 10_000, 60_001)).toEqual({ dismiss: [], make: "a" });
  expect(planSpares([of("a", [0, 60_000])], [spare("1", "a")], 10_000, 60_001)).toEqual({ dismiss: [], make: null });
  expect(planSpares([of("a", [0, 1, 2])], [spare("1", "a"), spare("2", "a")], 10_000, 3)).toEqual({ dismiss: [], make: "a" });
});

test("starts that last have come at once, however long after each other they were asked for", () => {
  const starts = [0, 20_000].map((at, i) => ({ at, beside: i + 1 }));
  expect(planSpares([{ key: "a", memoryMib: 512, starts }], [spare("1", "a")], 10_000, 20_001).make).toBe("a");
  expect(planSpares([of("a", [0, 20_000])], [spare("1", "a")], 10_000, 20_001).make).toBe(null);
});

test("what is not wanted any more goes: after a while, without room, of a template that is gone, for what is wanted now", () => {
  const spares = [spare("1", "a"), spare("2", "a"), spare("3", "b")];
  expect(planSpares([of("a", [0, 1])], spares, 10_000, FORGET_MS + 2)).toEqual({ dismiss: ["1", "2", "3"], make: null });
  expect(planSpares([of("a", [0, 1])], spares, 10_000, 2)).toEqual({ dismiss: ["3"], make: null });
  expect(planSpares([of("a", [0, 1])], spares, 1_100, 2)).toEqual({ dismiss: ["2", "3"], make: null });
  expect(planSpares([of("a", [0, 1]), of("c", [2, 3])], spares, 2_048, 4)).toEqual({ dismiss: ["1", "2", "3"], make: "c" });
});

test("never more than half of the room, whoever wants them", () => {
  const demand = fc.record({
    key: fc.constantFrom("a", "b", "c"),
    memoryMib: fc.integer({ min: 64, max: 2048 }),
    starts: fc.array(fc.record({ at: fc.nat(20_000), beside: fc.integer({ min: 1, max: 9 }) }), { minLength: 1 }),
  });
  fc.assert(
    fc.property(fc.uniqueArray(demand, { selector: (d) => d.key }), fc.nat(20_000), (drawn, roomMib) => {
      const demands = drawn.map((d) => ({ ...d, starts: d.starts.toSorted((a, b) => a.at - b.at) }));
      const spares: ReturnType<typeof spare>[] = [];
      for (;;) {
        const { dismiss, make } = planSpares(demands, spares, roomMib, 20_000);
        expect(dismiss).toEqual([]);
        if (make === null) break;
        spares.push(spare(String(spares.length), make));
      }
      const of = (key: string) => demands.find((d) => d.key === key)!;
      expect(spares.reduce((sum, s) => sum + of(s.key).memoryMib, 0)).toBeLessThanOrEqual(roomMib / 2);
    }),
  );
});
