/** Machines that sleep: who wakes them, what keeps them awake, and that nothing of them is lost, whoever is killed meanwhile. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { ROOT, startNode, WHY_NOT, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/standby: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
/** It counts in its memory, and serves the count. */
const COUNT = "httpd -p 80 -h /dev/shm; i=0; while :; do i=$((i+1)); echo $i > /dev/shm/next; mv /dev/shm/next /dev/shm/n; sleep 0.2; done";
let n: TestNode;

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  n = await startNode("standby");
  await makeImage(n, "box:1", { Cmd: ["/bin/sh"] });
  await n.ok(n.vps("run", "-d", "--name", "web", "-p", "18090:80", "-m", "128M", "box:1", "sh", "-c", COUNT));
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
}, 60_000);

const state = async (name: string): Promise<string> => (await n.machine(name)).state;
const get = (url: string) => n.sh([process.execPath, "-e", `process.stdout.write(await (await fetch("${url}")).text())`]);
/** 0: nobody answers. */
const count = async (): Promise<number> => Number((await get("http://127.0.0.1:18090/n")).out.trim());
const processes = async (name: string): Promise<number> => {
  const { id } = await n.machine(name);
  return (await n.sh(["pgrep", "-fc", `process=hl-.*${id}/qmp.sock|guest=${id},`])).out.trim() as unknown as number;
};
const asleep = async (name: string): Promise<string> => `${n.state}/machines/${(await n.machine(name)).id}/asleep`;

it("the first packet for it wakes it where it was, and is answered", async () => {
  const before = await n.until(count, (c) => c > 2);
  expect(await n.ok(n.vps("standby", "web"))).toBe("✔ web is in standby\n");
  expect(await state("web")).toBe("standby");
  expect((await n.machine("web")).observed!.pid).toBeNull();
  expect(Number(await processes("web"))).toBe(0);
  expect(readdirSync(await asleep("web")).sort()).toEqual(["devices", "pages"]);
  await Bun.sleep(1500);
  const after = await count();
  // It went on from there, and had stood still meanwhile.
  expect(after).toBeWithin(before, before + 8);
  await n.until(
    () => state("web"),
    (s) => s === "running",
  );
  expect((await n.machine("web")).observed!.origin).toBe("memory");
  await n.until(
    async () => existsSync(await asleep("web")),
    (there) => !there,
  );
}, 60_000);

it("exec, start, another machine, and the clock wake it too", async () => {
  const sleeps = () => n.ok(n.vps("standby", "web"));
  await sleeps();
  const lag = async (): Promise<number> => Math.abs(Number(await n.ok(n.vps("exec", "web", "--", "date", "+%s"))) - Date.now() / 1000);
  expect(await lag()).toBeLessThan(5);
  await sleeps();
  expect(await n.ok(n.vps("start", "web"))).toBe("✔ web is running\n");
  await n.ok(n.vps("run", "-d", "--name", "other", "-m", "128M", "box:1", "sleep", "1000"));
  await sleeps();
  expect(
    Number(
      await n.ok(n.vps("exec", "other", "--", "sh", "-c", "printf 'GET /n HTTP/1.0\\r\\n\\r\\n' | nc -w 10 web.internal 80 | tail -1")),
    ),
  ).toBeGreaterThan(0);
  await sleeps();
  const { address6 } = (await n.machine("web")).observed!;
  expect(Number(await n.ok(get(`http://[${address6}]/n`)))).toBeGreaterThan(0);
  await n.ok(n.vps("standby", "web", "--for", "3s"));
  expect(await state("web")).toBe("standby");
  await n.until(
    () => state("web"),
    (s) => s === "running",
    10_000,
  );
}, 90_000);

it("open commands and connections keep it awake, unless it is forced", async () => {
  const argv = [
    "ip",
    "netns",
    "exec",
    n.ns,
    process.execPath,
    `${ROOT}/main.ts`,
    "vps",
    "exec",
    "web",
    "--",
    "sh",
    "-c",
    "echo in; sleep 1000",
  ];
  const session = Bun.spawn(argv, { env: n.env, stdout: "pipe", stderr: "ignore" });
  await session.stdout.getReader().read();
  const refused = await n.vps("standby", "web");
  expect([refused.code, refused.err]).toEqual([6, expect.stringContaining("a command, a copy or a terminal is open in it")]);
  session.kill();
  await session.exited;
  const connect =
    'await Bun.connect({ hostname: "127.0.0.1", port: 18090, socket: { data() {} } }); console.log("open"); await Bun.sleep(1e6)';
  const held = Bun.spawn(["ip", "netns", "exec", n.ns, process.execPath, "-e", connect], { stdout: "pipe" });
  expect(Buffer.from((await held.stdout.getReader().read()).value ?? []).toString()).toBe("open\n");
  expect((await n.vps("standby", "web")).err).toContain("a connection to it is open");
  expect(await state("web")).toBe("running");
  await n.ok(n.vps("standby", "web", "--force"));
  expect(await state("web")).toBe("standby");
  held.kill();
  expect(await count()).toBeGreaterThan(0);
}, 60_000);

it("with nothing to do it sleeps by itself, unless it is held", async () => {
  await n.ok(n.vps("run", "-d", "--name", "lazy", "-m", "128M", "--idle", "5s", "box:1", "sleep", "1000"));
  await n.until(
    () => state("lazy"),
    (s) => s === "standby",
    40_000,
  );
  await n.ok(n.vps("standby", "lazy", "--hold"));
  await n.ok(n.vps("start", "lazy"));
  await Bun.sleep(9_000);
  expect(await state("lazy")).toBe("running");
  await n.ok(n.vps("standby", "lazy", "--no-hold"));
  await n.until(
    () => state("lazy"),
    (s) => s === "standby",
    40_000,
  );
  expect(await n.ok(n.vps("destroy", "lazy", "--yes"))).toBe("✔ lazy is destroyed\n");
}, 120_000);

it("it is either a process or on the disk, whenever its agent is killed", async () => {
  let last = await count();
  for (const afterMs of [0, 60, 120, 200]) {
    await n.ok(n.vps("standby", "web", "--no-wait"));
    await Bun.sleep(afterMs);
    await n.kill("agent");
    const now = await n.until(count, (c) => c > 0, 30_000);
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
    expect(Number(await processes("web"))).toBe(1);
  }
  // And while it wakes.
  for (const afterMs of [30, 90]) {
    await n.until(
      async () => (await n.vps("standby", "web")).code,
      (code) => code === 0,
    );
    const waking = n.vps("start", "web", "--no-wait");
    await Bun.sleep(afterMs);
    await n.kill("agent");
    await waking;
    const now = await n.until(count, (c) => c > 0, 30_000);
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
    expect(Number(await processes("web"))).toBe(1);
  }
  expect((await n.machine("web")).epoch).toBe(1);
}, 180_000);

it("in standby its disk can be kept and put back, and it can be stopped as it is when awake", async () => {
  // The agent may still be on its way.
  await n.until(
    async () => (await n.vps("run", "-d", "--name", "disk", "--stop-timeout", "1", "-m", "128M", "box:1", "sleep", "1000")).code,
    (code) => code === 0,
  );
  await n.ok(n.vps("exec", "disk", "--", "sh", "-c", "echo good > /root-file"));
  await n.ok(n.vps("standby", "disk"));
  await n.ok(n.vps("snapshot", "disk", "kept"));
  expect(await state("disk")).toBe("standby");
  await n.ok(n.vps("exec", "disk", "--", "sh", "-c", "echo bad > /root-file; sync"));
  await n.ok(n.vps("standby", "disk"));
  await n.ok(n.vps("snapshot", "restore", "disk", "kept"));
  expect(await n.ok(n.vps("exec", "disk", "--", "cat", "/root-file"))).toBe("good\n");
  await n.ok(n.vps("standby", "disk"));
  await n.ok(n.vps("stop", "disk"));
  expect(await state("disk")).toBe("stopped");
  expect(existsSync(await asleep("disk"))).toBe(false);
}, 60_000);

it("a snapshot with memory puts back all that ran, as often as wanted; one that no longer fits boots", async () => {
  await n.ok(
    n.vps(
      "run",
      "-d",
      "--name",
      "warm",
      "--stop-timeout",
      "1",
      "-m",
      "128M",
      "box:1",
      "sh",
      "-c",
      "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done",
    ),
  );
  const last = async (): Promise<number> => Number((await n.ok(n.vps("logs", "warm", "--tail", "1"))).trim());
  const mark = await n.until(last, (i) => i > 10);
  await n.ok(n.vps("exec", "warm", "--", "sh", "-c", "echo then > /file; echo then > /dev/shm/file"));
  expect(await n.ok(n.vps("snapshot", "warm", "kept", "--memory"))).toMatch(/^✔ Snapshot kept of warm with its memory \(\d+ MiB\)/);
  expect(await state("warm")).toBe("running");
  const files = () => n.vps("exec", "warm", "--", "sh", "-c", "cat /file /dev/shm/file; date +%s");
  for (const _ of [1, 2]) {
    await n.ok(n.vps("exec", "warm", "--", "sh", "-c", "echo now > /file; echo now > /dev/shm/file; sync"));
    await n.until(last, (i) => i > mark + 60);
    await n.ok(n.vps("snapshot", "restore", "warm", "kept"));
    expect((await n.machine("warm")).observed!.origin).toBe("memory");
    const [disk, memory, clock] = (await n.ok(files())).trim().split("\n");
    expect([disk, memory]).toEqual(["then", "then"]);
    expect(Math.abs(Number(clock) - Date.now() / 1000)).toBeLessThan(5);
    expect(await last()).toBeWithin(mark, mark + 60);
  }
  // It sleeps and wakes as any.
  await n.ok(n.vps("standby", "warm"));
  expect((await n.ok(files())).startsWith("then\nthen\n")).toBe(true);
  await n.ok(n.vps("scale", "warm", "--ram", "256M"));
  await n.ok(n.vps("snapshot", "restore", "warm", "kept"));
  expect((await n.machine("warm")).observed!.origin).not.toBe("memory");
  expect(await n.ok(n.vps("exec", "warm", "--", "sh", "-c", "cat /file; ls /dev/shm | wc -l"))).toBe("then\n0\n");
  await n.ok(n.vps("snapshot", "rm", "warm", "kept"));
  const { id } = await n.machine("warm");
  await n.until(
    async () => readdirSync(`${n.state}/machines/${id}`).filter((f) => f.startsWith("memory-")).length,
    (count) => count === 0,
  );
  await n.ok(n.vps("volume", "create", "written", "--size", "64M"));
  await n.ok(n.vps("volume", "attach", "written", "warm:/data"));
  expect((await n.vps("snapshot", "warm", "--memory")).err).toContain("which would not go back with its memory");
}, 90_000);

test.skipIf(WHY_NOT !== null)(
  "a whole system sleeps with its volumes, and ssh wakes it",
  async () => {
    await n.ok(n.vps("up", "sys", "-v", "data:/data"));
    await n.ok(n.vps("exec", "sys", "--", "sh", "-c", "echo kept > /data/file; echo mine > /dev/shm/file"));
    await n.until(
      async () => (await n.vps("standby", "sys")).code,
      (code) => code === 0,
    );
    await n.ok(n.vps("volume", "resize", "data", "12G"));
    expect(await n.ok(n.vps("ssh", "sys", "--", "cat /data/file /dev/shm/file; hostname"))).toBe("kept\nmine\nsys\n");
    await n.until(
      async () => n.ok(n.vps("exec", "sys", "--", "df", "-m", "/data")),
      (df) => Number(/(\d+) +\d+ +\d+ +\d+%/.exec(df)?.[1]) > 11_000,
    );
  },
  120_000,
);
