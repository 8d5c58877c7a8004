/**
 * How fast machines are there, beside Debian's docker.io running the same image, in turn; how much of that is ours, beside
 * the same template restored by hand; what idle ones cost; and how fast one that sleeps answers. Needs root,
 * build/hyperlane and build/guest; a node of its own is made and removed.
 */
import { readdirSync } from "node:fs";
import type { Template } from "#contract/resources/template.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { whyNoDocker, startDocker } from "#tests/oci/docker.ts";
import { makeImage } from "#tests/e2e/image.ts";
import { createTurns } from "#agent/host/turns.ts";
import { startNode, type TestNode } from "#tests/e2e/node.ts";
import { pssKib, restoreByHand } from "./floor.ts";
import { median, report, type Measure } from "./report.ts";

const ROUNDS = 11;
const MANY = 100;
const CROWD = 300;
const SERVE = "httpd -p 80 -h /etc; exec sleep 100000";

export async function benchInstant(): Promise<void> {
  const why = await whyNoDocker();
  if (why) throw new Error(`There is no docker to compare with: ${why}`);
  const n = await startNode("instant", ["--cpus", "400", "--memory", "64G"], { built: true });
  const docker = await startDocker();
  try {
    await makeImage(n, "box:1", { Cmd: ["/bin/sh"] });
    await Bun.$`tar -C ${n.home}/root-box:1 -cf ${n.home}/box.tar .`.quiet();
    await docker.docker("import", `${n.home}/box.tar`, "box:1");
    await n.ok(n.vps("run", "--rm", "box:1", "true"));
    await n.until(
      async () => n.ok(n.vps("template", "list")),
      (list) => list.includes(" ready "),
    );
    report([...(await runs(n, docker)), ...(await sleeps(n)), ...(await many(n, docker))]);
  } finally {
    await docker.close();
    await n.close();
  }
}

type Docker = Awaited<ReturnType<typeof startDocker>>;

async function timed(work: Promise<{ code: number; out: string; err: string }>): Promise<number> {
  const from = performance.now();
  const { code, err } = await work;
  if (code !== 0) throw new Error(err);
  return performance.now() - from;
}

async function runs(n: TestNode, { docker }: Docker): Promise<Measure[]> {
  const [ours, theirs]: [number[], number[]] = [[], []];
  const once = (): Promise<number> => timed(n.vps("run", "--rm", "box:1", "echo", "hi"));
  const before = [await once()];
  for (let round = 0; round < ROUNDS; round++) before.push(await once());
  await spares(n, ROUNDS);
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await once());
    theirs.push(await timed(docker("run", "--rm", "--network", "none", "box:1", "echo", "hi")));
  }
  return [
    { name: "vps run --rm busybox echo hi, whole command", value: median(ours), unit: "ms" },
    { name: "the same, as long as there is no spare", value: before[0]!, unit: "ms" },
    { name: "docker run --rm --network none, the same", value: median(theirs), unit: "ms" },
    { name: "vps run / docker run", value: median(ours) / median(theirs), unit: "", goal: { at: "most", value: 0.7 } },
  ];
}

/** Until so many wait to be machines. */
async function spares(n: TestNode, count: number): Promise<void> {
  const most = async (): Promise<number> =>
    Math.max(...(JSON.parse(await n.ok(n.vps("template", "list", "--json"))) as Template[]).map((t) => t.spares));
  await n.until(most, (have) => have >= count, 300_000);
}

/** From the first packet to the first byte of the answer. */
async function sleeps(n: TestNode): Promise<Measure[]> {
  await n.ok(n.vps("run", "-d", "--name", "web", "-p", "18091:80", "-m", "128M", "box:1", "sh", "-c", SERVE));
  const get = ["curl", "-s", "-o", "/dev/null", "-w", "%{time_starttransfer}", "http://127.0.0.1:18091/passwd"];
  await n.until(
    async () => (await n.sh(get)).code,
    (code) => code === 0,
  );
  const [wakes, falls]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    await Bun.sleep(1_200);
    falls.push(await timed(n.vps("standby", "web", "--force")));
    wakes.push(Number(await n.ok(n.sh(get))) * 1000);
  }
  await n.ok(n.vps("destroy", "web", "--yes"));
  return [
    { name: "wake from standby, first packet to first byte of HTTP", value: median(wakes), unit: "ms", goal: { at: "most", value: 300 } },
    { name: "vps standby, whole command", value: median(falls), unit: "ms" },
  ];
}

/** All asked for at once, until every one runs; and as many as answer in so much memory. */
async function many(n: TestNode, { docker }: Docker): Promise<Measure[]> {
  const names = Array.from({ length: CROWD }, (_, i) => `m${i}`);
  const [some, others] = [names.slice(0, MANY), names.slice(MANY)];
  const all = async (work: (name: string) => Promise<{ code: number; out: string; err: string }>): Promise<number> => {
    const from = performance.now();
    await Promise.all(some.map((name) => timed(work(name))));
    return performance.now() - from;
  };
  const start = (name: string) => n.vps("run", "-d", "--name", name, "-m", "128M", "--disk", "256M", "box:1", "sleep", "100000");
  const first = await all(start);
  await inTurns(some, (name) => n.ok(n.vps("destroy", name, "--yes")));
  // Half of the room that there is has place for no more.
  await spares(n, MANY * 0.9);
  const ours = await all(start);
  await Bun.sleep(3_000);
  const pss = await Promise.all(some.map((name) => pssOf(n, name)));
  await inTurns(others, (name) => n.ok(start(name)));
  // Every one of them does as it is told.
  const answers = await inTurns(names, (name) => n.ok(n.vps("exec", name, "--", "hostname")));
  const crowd = await Promise.all(names.map((name) => pssOf(n, name)));
  await inTurns(names, (name) => n.ok(n.vps("destroy", name, "--yes")));
  const floor = await restoreByHand(n.state, ROUNDS);
  const one = await inTurns(
    Array.from({ length: ROUNDS }, (_, i) => `one${i}`),
    (name) => timed(start(name)),
    1,
  );
  const theirs = await all((name) => docker("run", "-d", "--name", name, "--network", "none", "box:1", "sleep", "100000"));
  for (const name of some) await docker("rm", "-f", name);
  const gib = crowd.reduce((sum, kib) => sum + kib, 0) / 2 ** 20;
  return [
    { name: `${MANY} machines at once, the first time`, value: first / 1000, unit: "s" },
    { name: `${MANY} machines at once, with spares from the last time`, value: ours / 1000, unit: "s" },
    { name: `${MANY} containers at once, docker run -d`, value: theirs / 1000, unit: "s" },
    { name: "machines / containers", value: ours / theirs, unit: "", goal: { at: "most", value: 1 } },
    { name: "vps run -d, whole command, until it runs", value: median(one), unit: "ms" },
    { name: "the same template restored by hand, until it runs", value: median(floor.ms), unit: "ms" },
    { name: "whole command / by hand", value: median(one) / median(floor.ms), unit: "", goal: { at: "most", value: 1.5 } },
    { name: "an idle machine, its share of memory (PSS), median", value: median(pss) / 1024, unit: "MiB" },
    { name: "restored by hand, the same", value: median(floor.pss) / 1024, unit: "MiB" },
    { name: "machine / by hand", value: median(pss) / median(floor.pss), unit: "", goal: { at: "most", value: 1.1 } },
    {
      name: "machines that answer",
      value: answers.filter((a, i) => a === `${names[i]}\n`).length,
      unit: "",
      goal: { at: "least", value: CROWD },
    },
    { name: "their memory altogether (PSS)", value: gib, unit: "GiB", goal: { at: "most", value: 20 } },
    { name: "of which their template", value: templateMib(n), unit: "MiB", note: "shared by all" },
  ];
}

/** A few at a time. */
async function inTurns<A, B>(of: readonly A[], work: (a: A) => Promise<B>, atOnce = 8): Promise<B[]> {
  const turns = createTurns(atOnce);
  return await Promise.all(of.map((a) => turns.turn(() => work(a))));
}

async function pssOf(n: TestNode, name: string): Promise<number> {
  const { observed } = JSON.parse(await n.ok(n.vps("show", name, "--json"))) as Machine;
  return pssKib(observed!.pid!);
}

function templateMib(n: TestNode): number {
  const [key] = readdirSync(`${n.state}/templates`);
  return Bun.file(`${n.state}/templates/${key}/base`).size / 2 ** 20;
}
