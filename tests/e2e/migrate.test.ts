/** Two nodes, each in a network namespace of its own, with a cable between: machines go from one to the other while they run. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { findByFolder } from "#agent/host/process.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { compileStandIns, RUNTIMES } from "#tests/runtimes/programs.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import type { TestNode } from "./node.ts";
import { startTwo } from "./two.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/migrate: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-move-e2e-`);
let [a, b]: TestNode[] = [];

/** What counts up for ever, in its memory, and says so to whoever asks; now and then onto its disk as well. */
const COUNTER = [
  "i=0; mkdir -p /www; rm -f /www/count; httpd -p 80 -h /www; echo counting;",
  "while :; do i=$((i+1)); echo $i > /www/next; mv /www/next /www/count; [ $((i % 50)) != 0 ] || echo $i >> /log; sleep 0.02; done",
].join(" ");

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  [a, b] = await startTwo("move", await compileStandIns(dir));
  await bothThere();
  // They are found out by booting a kernel in each.
  await a.until(
    async () => JSON.parse(await a!.ok(a!.vps("runtime", "list", "--json"))) as { name: string; nodes: string[] }[],
    (all) => RUNTIMES.every((r) => all.find(({ name }) => name === r)!.nodes.length === 2),
  );
  await makeImage(a, "box:1", { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] });
}, 120_000);
afterAll(async () => {
  if (NO_BUSYBOX) return;
  for (const name of (await a!.ok(a!.vps("list", "-q"))).split("\n").filter(Boolean)) await a!.ok(a!.vps("destroy", "-y", name));
  expect(await b!.close()).toEqual([]);
  await a!.ok(a!.vps("node", "rm", "other"));
  expect(await a!.close()).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
}, 120_000);

const bothThere = () =>
  a!.until(
    async () => JSON.parse((await a!.vps("node", "list", "--json")).out || "[]") as { connected?: boolean }[],
    (all) => Array.isArray(all) && all.filter((n) => n.connected).length === 2,
  );
const nodes = async (): Promise<{ here: string; other: string }> => {
  const all = JSON.parse(await a!.ok(a!.vps("node", "list", "--json"))) as { id: string; name: string }[];
  const other = all.find((n) => n.name === "other")!.id;
  return { here: all.find((n) => n.id !== other)!.name, other };
};
const exec = (name: string, ...argv: string[]): Promise<string> => a!.ok(a!.vps("exec", name, "--", ...argv));
const count = async (name: string): Promise<number> =>
  Number(await exec(name, "sh", "-c", "until cat /www/count 2>/dev/null; do sleep 0.1; done"));
/** As it is; while the control plane is away, as nothing. */
const seen = async (name: string): Promise<Partial<Machine>> =>
  (await a!.vps("show", name, "--json").then((r) => (r.code === 0 ? (JSON.parse(r.out) as Machine) : undefined))) ?? {};
/** What runs for a machine on a host, by its folder; and the QEMUs among that on both, for there is one behind each VMM here. */
const vmmsOn = (n: TestNode, id: string) => findByFolder(`/run/hyperlane/${nodeIn(n)}`).filter((p) => p.folder === id);
const isQemu = (pid: number): boolean => existsSync(`/proc/${pid}/exe`) && readlinkSync(`/proc/${pid}/exe`).includes("/qemu-system-");
const vmms = async (id: string): Promise<number> => [a!, b!].flatMap((n) => vmmsOn(n, id)).filter((p) => isQemu(p.id.pid)).length;
const nodeIn = (n: TestNode): string => (JSON.parse(readFileSync(`${n.state}/agent.json`, "utf8")) as { node: string }).node;
const up = async (name: string, ...more: string[]): Promise<void> => {
  const { here } = await nodes();
  // Where it starts is told by draining the other.
  await a!.ok(a!.vps("node", "drain", "other"));
  await a!.ok(
    a!.vps("run", "-d", "--name", name, "-m", "128M", "--restart", "always", "--stop-timeout", "0", ...more, "box:1", "sh", "-c", COUNTER),
  );
  await a!.ok(a!.vps("node", "undrain", "other"));
  expect((await a!.machine(name)).node).not.toBe(here);
};

it("a machine goes on on another node: its memory, its disk, its log; under its name, and with its new addresses", async () => {
  await up("one", "-p", "18400:80");
  await exec("one", "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=20 2>/dev/null; sha256sum /big > /sum; sync");
  const before = await a!.machine("one");
  const counted = await count("one");
  const { other } = await nodes();
  expect(await a!.ok(a!.vps("migrate", "one", "--to", "other"))).toContain("one runs on other");
  const after = await a!.machine("one");
  expect(after).toMatchObject({ node: other, state: "running", epoch: before.epoch, migration: null, moved: { to: other, reason: null } });
  expect(after.observed!.pid).not.toBe(before.observed!.pid);
  expect(await count("one")).toBeGreaterThan(counted);
  expect(await exec("one", "sha256sum", "-c", "/sum")).toBe("/big: OK\n");
  const lines = (await exec("one", "cat", "/log")).trim().split("\n").map(Number);
  expect(lines).toEqual(lines.map((_, i) => (i + 1) * 50));
  expect(await a!.ok(a!.vps("logs", "one"))).toBe("counting\n");
  // Of the node that it left nothing is kept, and of the other it is one of its own.
  await a!.until(
    async () => existsSync(`${a!.state}/machines/${before.id}`) || existsSync(`${a!.state}/disks/${before.id}`),
    (there) => !there,
    3_000,
  );
  const at = after.observed!;
  await a!.until(
    async () => (await b!.sh(["curl", "-s", "-m", "2", `http://${at.address4}/count`])).out.trim(),
    (out) => /^\d+$/.test(out),
  );
  await a!.until(
    async () => (await b!.sh(["curl", "-s", "-m", "2", "-g", `http://[${at.address6}]/count`])).out.trim(),
    (out) => /^\d+$/.test(out),
  );
  expect((await b!.sh(["curl", "-s", "-m", "2", "http://127.0.0.1:18400/count"])).out.trim()).toMatch(/^\d+$/);
  const addresses = await exec("one", "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global");
  expect(addresses.match(/inet6/g)).toHaveLength(1);
  expect(addresses).toContain(at.address6!);
}, 120_000);

it("and back again, while it is used; it stops, starts, sleeps and wakes there as it did here", async () => {
  const { here, other } = await nodes();
  expect((await a!.machine("one")).node).toBe(other);
  const counted = await count("one");
  const asking = (async () => {
    for (let i = 0; i < 20; i++) await a!.vps("exec", "one", "--", "true");
  })();
  expect(await a!.ok(a!.vps("migrate", "one"))).toContain(`one runs on ${here}`);
  await asking;
  expect((await a!.machine("one")).node).not.toBe(other);
  expect(await count("one")).toBeGreaterThan(counted);
  await a!.ok(a!.vps("standby", "one"));
  expect(await count("one")).toBeGreaterThan(counted);
  await a!.ok(a!.vps("restart", "one"));
  expect(await exec("one", "sha256sum", "-c", "/sum")).toBe("/big: OK\n");
  // One that went on from a template goes, too.
  await a!.ok(a!.vps("template", "build", "box:1", "--ram", "128M"));
  await a!.ok(a!.vps("restart", "one"));
  expect((await a!.machine("one")).observed!.origin).not.toBe("boot");
  await a!.ok(a!.vps("migrate", "one", "--to", "other"));
  expect(await exec("one", "sha256sum", "-c", "/sum")).toBe("/big: OK\n");
  await a!.ok(a!.vps("migrate", "one"));
}, 180_000);

it("what would be left behind is refused, with the reason", async () => {
  await a!.ok(a!.vps("volume", "create", "kept", "--size", "64M"));
  await a!.ok(a!.vps("volume", "attach", "kept", "one:/kept"));
  expect(await a!.vps("migrate", "one")).toMatchObject({ code: 1, err: expect.stringContaining("kept is of its node") });
  await a!.ok(a!.vps("volume", "detach", "kept", "one"));
  await a!.ok(a!.vps("snapshot", "one", "then"));
  expect(await a!.vps("migrate", "one")).toMatchObject({ code: 1, err: expect.stringContaining("its snapshots would be lost (then)") });
  await a!.ok(a!.vps("snapshot", "rm", "one", "then"));
  await a!.ok(a!.vps("volume", "rm", "kept"));
  await a!.ok(a!.vps("stop", "one"));
  expect(await a!.vps("migrate", "one")).toMatchObject({ code: 6, err: expect.stringContaining("must be running") });
  await a!.ok(a!.vps("start", "one"));
}, 60_000);

/** Right in the middle of its way: once its disk is being copied, or its RAM. */
async function underWay(name: string): Promise<void> {
  await bothThere();
  await a!.ok(a!.vps("migrate", name, "--to", "other", "--no-wait"));
  await a!.until(
    () => seen(name),
    (m) => m.observed?.move?.stage === "moving" || m.migration === null,
  );
}
/** A start has one of its own, which lives in the kernel's memory: it goes along, and no other start has it. */
const bootOf = (name: string): Promise<string> => exec(name, "cat", "/proc/sys/kernel/random/boot_id");

/** It runs on, once, with what it had. */
async function whole(name: string, boot: string): Promise<void> {
  const m = await a!.until(
    () => seen(name),
    (x) => x.migration === null && x.state === "running" && x.observed!.revision >= x.revision!,
  );
  await a!.until(
    () => a!.vps("exec", name, "--", "true"),
    ({ code }) => code === 0,
  );
  expect(await bootOf(name)).toBe(boot);
  const counted = await count(name);
  await Bun.sleep(100);
  expect(await count(name)).toBeGreaterThan(counted);
  expect(await exec(name, "sha256sum", "-c", "/sum")).toBe("/big: OK\n");
  await a!.until(
    () => vmms(m.id!),
    (n) => n === 1,
  );
  const folders = [a!, b!].flatMap((n) =>
    (existsSync(`${n.state}/disks`) ? readdirSync(`${n.state}/disks`) : []).filter((d) => d === m.id),
  );
  expect(folders).toHaveLength(1);
}

/** As soon as it is there. */
async function killWaiting(name = "one"): Promise<void> {
  const { id } = await a!.machine(name);
  for (let i = 0; i < 2_000 && !vmmsOn(b!, id).length; i++) await Bun.sleep(2);
  for (const p of vmmsOn(b!, id)) process.kill(p.id.pid, "SIGKILL");
}

it("whoever is killed on the way, the machine is not lost, and not twice", async () => {
  const home = (await a!.machine("one")).node;
  for (const [who, kill] of [
    ["the agent it leaves", () => a!.kill("agent")],
    ["the agent it comes to", () => b!.kill("agent")],
    ["the control plane", () => a!.kill("serve")],
    ["the VMM that waits for it", killWaiting],
  ] as const) {
    const boot = await bootOf("one");
    for (const delayMs of [0, 250]) {
      if (kill === killWaiting) await a!.ok(a!.vps("migrate", "one", "--to", "other", "--no-wait"));
      else await underWay("one");
      if (kill !== killWaiting) await Bun.sleep(delayMs);
      await kill();
      await whole("one", boot).catch((thrown) => {
        throw new Error(`${who} killed after ${delayMs} ms: ${(thrown as Error).message}`);
      });
      await bothThere();
      if ((await a!.machine("one")).node !== home) await a!.ok(a!.vps("migrate", "one"));
    }
  }
}, 300_000);

it("one that is told to stay stays; one that is stopped on the way is stopped", async () => {
  const before = await a!.machine("one");
  const boot = await bootOf("one");
  await a!.ok(a!.vps("migrate", "one", "--to", "other", "--no-wait"));
  await a!.ok(a!.vps("migrate", "one", "--cancel"));
  await whole("one", boot);
  const m = await a!.machine("one");
  if (m.node === before.node) expect([m.observed!.pid, m.moved!.reason]).toEqual([before.observed!.pid, "somebody left it where it was"]);
  await underWay("one");
  expect((await a!.vps("pause", "one")).err).toMatch(/on its way to another node|paused/);
  await a!.ok(a!.vps("stop", "one"));
  expect((await a!.machine("one")).state).toBe("stopped");
  await a!.until(
    () => vmms(m.id),
    (n) => n === 0,
  );
}, 120_000);

for (const runtime of RUNTIMES) {
  const name = runtime.slice(0, 2);

  it(`${runtime}: one whose VMM cannot be sent while it runs stands still on its way, and goes on`, async () => {
    await up(name, "--runtime", runtime);
    await exec(name, "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=20 2>/dev/null; sha256sum /big > /sum; sync");
    const [boot, counted, before] = [await bootOf(name), await count(name), await a!.machine(name)];
    const { other, here } = await nodes();
    expect(await a!.ok(a!.vps("migrate", name, "--to", "other"))).toContain(`${name} runs on other`);
    expect(await a!.machine(name)).toMatchObject({ node: other, epoch: before.epoch, moved: { to: other, reason: null } });
    expect(await count(name)).toBeGreaterThan(counted);
    await whole(name, boot);
    const lines = (await exec(name, "cat", "/log")).trim().split("\n").map(Number);
    expect(lines).toEqual(lines.map((_, i) => (i + 1) * 50));
    expect(await a!.ok(a!.vps("logs", name))).toBe("counting\n");
    // It has become one of that node's: it sleeps and wakes there, and comes back.
    await a!.ok(a!.vps("standby", name));
    expect(await bootOf(name)).toBe(boot);
    expect(await a!.ok(a!.vps("migrate", name))).toContain(`${name} runs on ${here}`);
    await whole(name, boot);
  }, 180_000);

  if (runtime === "firecracker") continue;
  it(`${runtime}: whoever is killed on the way, it is not lost, and not twice`, async () => {
    const home = (await a!.machine(name)).node;
    for (const [who, kill] of [
      ["the agent it leaves", () => a!.kill("agent")],
      ["the agent it comes to", () => b!.kill("agent")],
      ["the VMM that waits for it", () => killWaiting(name)],
    ] as const) {
      const boot = await bootOf(name);
      await underWay(name);
      await kill();
      await whole(name, boot).catch((thrown) => {
        throw new Error(`${who} killed: ${(thrown as Error).message}`);
      });
      await bothThere();
      if ((await a!.machine(name)).node !== home) await a!.ok(a!.vps("migrate", name));
    }
    await a!.ok(a!.vps("destroy", "-y", name));
  }, 300_000);
}
