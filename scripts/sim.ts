/** `sim --seeds N [--from SEED]` or `sim --seed SEED`: simulated lives of the control plane, any number of them. */
import { parseArgs } from "node:util";
import { simulate } from "#tests/sim/run.ts";

export async function runSimulation(): Promise<void> {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: { seeds: { type: "string", default: "1000" }, from: { type: "string" }, seed: { type: "string" } },
  });
  const from = Number(values.seed ?? values.from ?? Math.floor(Math.random() * 1e9));
  const count = values.seed === undefined ? Number(values.seeds) : 1;
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(count) || count < 1)
    throw new Error("--seed, --from and --seeds are whole numbers.");
  let failed = 0;
  for (let seed = from; seed < from + count; seed++) {
    const { problems, log } = await simulate(seed, { faults: 1 + (seed % 3) });
    if (problems.length || values.seed !== undefined) process.stdout.write(`${log.join("\n")}\n`);
    if (problems.length) (process.stdout.write(`seed ${seed}:\n  ${problems.join("\n  ")}\n`), failed++);
    if ((seed - from + 1) % 500 === 0) process.stderr.write(`  ${seed - from + 1} of ${count}, ${failed} failed\n`);
  }
  process.stdout.write(`${count} seeds from ${from}, ${failed} failed\n`);
  process.exitCode = failed ? 1 : 0;
}
