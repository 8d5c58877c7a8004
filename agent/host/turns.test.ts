import { expect, test } from "bun:test";
import { createTurns } from "./turns.ts";

test("so many at once, in order; who no longer waits is left out", async () => {
  const turns = createTurns(2);
  const ended: number[] = [];
  let [now, most] = [0, 0];
  const work = (i: number) => async (): Promise<void> => {
    most = Math.max(most, ++now);
    await Bun.sleep(1);
    now--;
    ended.push(i);
    if (i === 3) throw new Error("three");
  };
  const third = new AbortController();
  const all = [0, 1, 2, 3, 4, 5].map((i) => turns.turn(work(i), i === 2 ? third.signal : undefined));
  third.abort(new Error("left"));
  const results = await Promise.allSettled(all);
  expect(results.map((r) => (r.status === "rejected" ? (r.reason as Error).message : "done"))).toEqual([
    "done",
    "done",
    "left",
    "three",
    "done",
    "done",
  ]);
  expect([most, ended, turns.idle]).toEqual([2, [0, 1, 3, 4, 5], true]);
});
