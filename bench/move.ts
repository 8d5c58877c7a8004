/**
 * `bench-move`: a machine to another node and back, while it runs: how long the whole command takes beside restarting it where it is, and how
 * long it stands still. Two nodes on one host, whose clock both have.
 */
import { readFileSync } from "node:fs";
import { makeImage } from "#tests/e2e/image.ts";
import { startTwo } from "#tests/e2e/two.ts";
import { median, report } from "./report.ts";

const ROUNDS = 10;

export async function benchMove(): Promise<void> {
  const [a, b] = await startTwo("bench-move", [], true);
  const timed = async (...words: string[]): Promise<number> => {
    const from = performance.now();
    await a.ok(a.vps(...words));
    return performance.now() - from;
  };
  try {
    await a.until(
      async () => (await a.vps("node", "list", "--json")).out,
      (out) => (out.match(/"connected": true/g) ?? []).length === 2,
    );
    await makeImage(a, "box:1", { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] });
    await a.ok(
      a.vps(
        "run",
        "-d",
        "--name",
        "one",
        "-m",
        "256M",
        "--stop-timeout",
        "0",
        "box:1",
        "sh",
        "-c",
        "while :; do date > /now; sleep 0.1; done",
      ),
    );
    const [moves, restarts] = [[], []] as [number[], number[]];
    for (let i = 0; i < ROUNDS; i++) {
      moves.push(await timed("migrate", "one"));
      restarts.push(await timed("restart", "one"));
    }
    const logs = [a, b].map((n) => readFileSync(`${n.state}/log/agent.log`, "utf8")).join("");
    const still = [...logs.matchAll(/it stood still for (\d+) ms/g)].map((m) => Number(m[1]));
    const [move, restart] = [median(moves), median(restarts)];
    report([
      { name: "vps migrate, whole command (256 MiB, sparse 10 GiB disk)", value: move, unit: "ms" },
      { name: "vps restart, whole command", value: restart, unit: "ms" },
      { name: "vps migrate / vps restart", value: move / restart, unit: "" },
      { name: "a machine stands still on its way, median", value: median(still), unit: "ms" },
      { name: "the same, most", value: Math.max(...still), unit: "ms", note: `${still.length} times` },
    ]);
  } finally {
    await a.vps("destroy", "-y", "one");
    await b.close();
    await a.vps("node", "rm", "other");
    await a.close();
  }
}
