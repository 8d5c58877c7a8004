/** The process that bench/control.ts measures: the real control plane with one pretended node. Prints where it is, as JSON. */
import { startFakeControl } from "#tests/fake/control.ts";

const control = await startFakeControl({ cpu: 1_000_000, memoryMib: 2 ** 40, diskMib: 2 ** 50, stepMs: 1 });
process.stdout.write(`${JSON.stringify({ url: control.url, token: control.token })}\n`);
process.stdin.on("end", () => {
  control.close();
  process.exit(0);
});
process.stdin.resume();
