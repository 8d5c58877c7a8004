import { expect, test } from "bun:test";
import { simulate } from "./run.ts";

const SEEDS = Number(process.env.SIM_SEEDS ?? 500);

test(`${SEEDS} lives with crashes, cuts and a bad network: nothing promised is lost, nothing doubled, all converges`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { problems, log } = await simulate(seed, { faults: 1 + (seed % 3) });
    if (problems.length)
      throw new Error(`seed ${seed} (again: bun scripts/main.ts sim --seed ${seed}):\n${problems.join("\n")}\n\n${log.join("\n")}`);
  }
}, 300_000);

test("a crash before and after every commit of a life without other faults", async () => {
  const { commits } = await simulate(7, { faults: 0 });
  expect(commits).toBeGreaterThan(50);
  for (let commit = 2; commit <= commits; commit++)
    for (const after of [false, true]) {
      const { problems, log } = await simulate(7, { faults: 0, crashAt: { commit, after } });
      if (problems.length)
        throw new Error(`crash ${after ? "after" : "before"} commit ${commit}:\n${problems.join("\n")}\n\n${log.join("\n")}`);
    }
}, 300_000);

test("the simulation notices: a control plane that forgets is found out", async () => {
  const { problems } = await simulate(7, { faults: 0, forget: true });
  expect(problems.join("\n")).toContain("was promised and is gone");
});
