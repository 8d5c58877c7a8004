/**
 * The processes that bench/control.ts measures: the real control plane, and beside it one pretended node. The first prints
 * where it is, as JSON, and ends with its stdin.
 */
import { rmSync } from "node:fs";
import { initFake, serveFake, startFakeNode, type Made } from "#tests/fake/control.ts";

const SIZE = { cpu: 1_000_000, memoryMib: 2 ** 40, diskMib: 2 ** 50, stepMs: 1, log: () => {} };

if (process.argv[2] === "node") {
  const { dir, made } = JSON.parse(process.argv[3]!) as { dir: string; made: Made };
  await startFakeNode(made, dir, SIZE);
} else {
  const { dir, made } = await initFake();
  const node = Bun.spawn([process.execPath, import.meta.path, "node", JSON.stringify({ dir, made })], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const { control, url, token } = await serveFake(dir, made, () => {});
  process.stdout.write(`${JSON.stringify({ url, token })}\n`);
  process.stdin.on("end", () => {
    node.kill();
    control.close();
    rmSync(dir, { recursive: true, force: true });
    process.exit(0);
  });
  process.stdin.resume();
}
