/** Spares: machines made before anybody asked, what becomes of them, and that whoever gets one has a machine like any other. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import type { Template } from "#contract/resources/template.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { ROOT, startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/spares: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
/** As every start here asks for. */
const SMALL = ["-m", "128M", "--disk", "256M"];
const ROUNDS = 8;
let n: TestNode;

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  n = await startNode("spares");
  await makeImage(n, "box:1", { Cmd: ["/bin/sh"] });
  await n.ok(n.vps("template", "build", "box:1", "--ram", "128M"));
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
}, 60_000);

const run = (...args: string[]): Promise<string> => n.ok(n.vps("run", ...SMALL, ...args));
const count = async (): Promise<number> =>
  (JSON.parse(await n.ok(n.vps("template", "list", "--json"))) as Template[]).reduce((sum, t) => sum + t.spares, 0);
const spares = (least: number): Promise<number> => n.until(count, (have) => have >= least);
/** The VMMs of this node, whoever they are for. */
const vmms = async (): Promise<number[]> =>
  (await n.sh(["pgrep", "-f", `${runRoot()}/m-[a-z0-9]+/qmp.sock`])).out.trim().split("\n").filter(Boolean).map(Number);
const nodeId = (): string => (JSON.parse(readFileSync(`${n.state}/agent.json`, "utf8")) as { node: string }).node;
const runRoot = (): string => `/run/hyperlane/${nodeId()}`;

it("one start makes no spare, the second does, and the third is one", async () => {
  await run("--rm", "box:1", "true");
  await Bun.sleep(1_500);
  expect(await count()).toBe(0);
  await run("--rm", "box:1", "true");
  await spares(1);
  await n.ok(n.vps("volume", "create", "data", "--size", "64M"));
  await run(
    "-d",
    "--name",
    "web",
    "-p",
    "18093:80",
    "-v",
    "data:/data",
    "--stop-timeout",
    "1",
    "-e",
    "WHO=me",
    "box:1",
    "sh",
    "-c",
    "echo up $WHO; touch /data/here; exec httpd -f -p 80 -h /etc",
  );
  const { observed } = await n.machine("web");
  expect(observed!.origin).toBe("spare");
  await n.until(
    () => n.ok(n.vps("logs", "web")),
    (out) => out === "up me\n",
  );
  // It says that it is up before it listens.
  await n.until(
    async () => (await n.sh(["curl", "-s", "http://127.0.0.1:18093/hostname"])).out.trim(),
    (out) => out === "web",
  );
  expect(await n.ok(n.vps("exec", "web", "--", "sh", "-c", "hostname; ls /data; mount | grep -c -e overlay -e ext4 -e erofs"))).toBe(
    "web\nhere\n2\n",
  );
}, 60_000);

it("it is confined, named and found like any other, under a user of its own", async () => {
  const { id, observed } = await n.machine("web");
  const pid = observed!.pid!;
  expect(existsSync(`${runRoot()}/${id}/qmp.sock`)).toBe(true);
  expect(readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`${nodeId()}.${id}`)).toBe(n.limits);
  const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
  expect(uid).toBeGreaterThanOrEqual(1_000_000);
  expect(statSync(`${n.state}/disks/${id}/disk.raw`).uid).toBe(uid);
  expect((await n.sh(["ip", "-br", "link", "show", `hl-${id.slice(2)}`])).code).toBe(0);
  // Started again it is its slot's, and has its disk.
  await n.ok(n.vps("exec", "web", "--", "sh", "-c", "echo kept > /etc/file; sync"));
  await n.ok(n.vps("stop", "web"));
  await n.until(
    async () => (await n.machine("web")).state,
    (s) => s === "stopped",
  );
  await n.ok(n.vps("start", "web"));
  expect(await n.ok(n.vps("exec", "web", "--", "cat", "/etc/file"))).toBe("kept\n");
}, 60_000);

it("machines go on when their agent is killed, and spares do not", async () => {
  await spares(1);
  await run("-d", "--name", "other", "box:1", "sleep", "1000");
  const pid = (await n.machine("other")).observed!.pid!;
  await n.kill("agent");
  await n.until(
    async () => (await n.vps("exec", "other", "--", "hostname")).out,
    (out) => out === "other\n",
  );
  expect((await n.machine("other")).observed!.pid).toBe(pid);
  const machines = await Promise.all(["web", "other"].map(async (m) => (await n.machine(m)).observed!.pid!));
  await n.until(vmms, (pids) => JSON.stringify(pids.sort()) === JSON.stringify(machines.sort()));
}, 60_000);

it("a spare that has died is nobody's machine; one goes to standby and back like any other", async () => {
  await run("--rm", "box:1", "true");
  await run("--rm", "box:1", "true");
  await spares(2);
  const machines = await Promise.all(["web", "other"].map(async (m) => (await n.machine(m)).observed!.pid!));
  for (const pid of await vmms()) if (!machines.includes(pid)) process.kill(pid, "SIGKILL");
  await n.until(count, (have) => have === 0);
  expect(await run("--rm", "box:1", "echo", "all the same")).toBe("all the same\n");
  await spares(1);
  await run("-d", "--name", "sleeper", "box:1", "sh", "-c", "echo 41 > /dev/shm/x; exec sleep 1000");
  expect((await n.machine("sleeper")).observed!.origin).toBe("spare");
  await n.ok(n.vps("standby", "sleeper", "--force"));
  expect(await n.ok(n.vps("exec", "sleeper", "--", "cat", "/dev/shm/x"))).toBe("41\n");
}, 90_000);

it("the numbers that TCP begins with tell nothing of a sibling's", async () => {
  await n.ok(n.sh(["ip", "tuntap", "add", "dev", "syns", "mode", "tap"]));
  await n.ok(n.sh(["ip", "address", "add", "10.99.0.1/24", "dev", "syns"]));
  const listening = Bun.spawn(["ip", "netns", "exec", n.ns, process.execPath, `${ROOT}/tests/e2e/syns.ts`, "syns"], { stdout: "pipe" });
  const lines = listening.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    expect((await lines.read()).value).toBe("listening\n");
    await n.ok(n.sh(["ip", "link", "set", "syns", "up"]));
    await n.ok(n.sh(["ip", "neighbour", "replace", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "syns"]));
    const seen: { from: string; secret: number }[] = [];
    const addresses = new Set<string | null>();
    for (let i = 0; i < ROUNDS; i++) {
      // One after the other they have the same address: where the secret were the same, so would be what is left without the clock.
      const name = `syn-${i}`;
      await run(
        "-d",
        "--name",
        name,
        "box:1",
        "sh",
        "-c",
        "echo 5555 5555 > /proc/sys/net/ipv4/ip_local_port_range; nc 10.99.0.2 80; sleep 100",
      );
      addresses.add((await n.machine(name)).observed!.address4);
      seen.push(JSON.parse((await lines.read()).value!.split("\n")[0]!));
      await n.ok(n.vps("destroy", name, "--yes"));
      await n.until(
        async () => (await n.vps("show", name)).code,
        (code) => code !== 0,
      );
    }
    expect([seen.map((s) => s.from), addresses.size]).toEqual([Array(ROUNDS).fill("10.99.0.1:5555"), 1]);
    const near = (a: number, b: number): boolean => Math.min((a - b) >>> 0, (b - a) >>> 0) < 20_000_000;
    const pairs = seen.flatMap((a, i) => seen.slice(0, i).filter((b) => near(a.secret, b.secret)));
    // Of 28 pairs of random numbers one is so near at times, and five never are.
    expect(pairs.length).toBeLessThan(5);
  } finally {
    listening.kill();
    await n.sh(["ip", "link", "delete", "syns"]);
  }
}, 90_000);
