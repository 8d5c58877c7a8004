/**
 * Machines on Firecracker and on Cloud Hypervisor, as `--runtime` has them. Where FIRECRACKER_BIN or CLOUD_HYPERVISOR_BIN name a
 * program in which guests run, on that; else on what stands in for it, with a real machine behind (tests/runtimes/behind.ts).
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { compileStandIns, RUNTIMES } from "#tests/runtimes/programs.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/vmms: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-vmms-e2e-`);
let n: TestNode;

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  n = await startNode("vmms", await compileStandIns(dir));
  await makeImage(n, "box:1", { Cmd: ["/bin/sh"], Env: ["PATH=/bin", "FROM=image"] });
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

it("a node offers those in which a guest has run, and says why not of others", async () => {
  const items = JSON.parse(await n.ok(n.vps("runtime", "list", "--json"))) as { name: string; nodes: string[] }[];
  expect(items.filter((r) => r.nodes.length).map((r) => r.name)).toEqual(["qemu", "cloud-hypervisor", "firecracker"]);
});

for (const runtime of RUNTIMES) {
  const run = (...args: string[]) => n.vps("run", "--runtime", runtime, "-m", "192M", ...args);
  const name = runtime.slice(0, 2);
  const exec = (...argv: string[]): Promise<string> => n.ok(n.vps("exec", name, "--", ...argv));

  it(`${runtime}: run prints, fails and is gone as ever`, async () => {
    expect(await run("--rm", "box:1", "echo", "hello")).toMatchObject({ code: 0, out: "hello\n" });
    expect(await run("--rm", "-e", "A=b", "box:1", "sh", "-c", "echo $A $FROM; echo no >&2; exit 7")).toEqual({
      ...{ code: 7, out: "b image\n", err: "no\n" },
    });
    // All of it, however much is on its way when the machine ends.
    const long = await run("--rm", "box:1", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    expect([long.code, long.out.split("\n").length, long.out.endsWith("line 19999\n")]).toEqual([0, 20_001, true]);
  }, 120_000);

  it(`${runtime}: exec, name, volumes that come, grow and go while it runs`, async () => {
    await n.ok(run("-d", "--name", name, "--restart", "always", "--stop-timeout", "1", "box:1", "sh", "-c", "echo up; exec sleep 10000"));
    expect(await exec("sh", "-c", "hostname; ls /sys/class/net")).toBe(`${name}\neth0\nlo\n`);
    expect(await n.ok(n.vps("logs", name))).toBe("up\n");
    const { observed } = await n.machine(name);
    expect(observed).toMatchObject({ phase: "running", origin: "boot" });
    // Under their own names a machine and its neighbour on QEMU meet.
    await n.ok(n.vps("run", "-d", "--name", `${name}-other`, "-m", "128M", "--stop-timeout", "0", "box:1", "sleep", "1000"));
    await n.ok(n.vps("exec", `${name}-other`, "--", "ping", "-c1", "-W5", `${name}.internal`));
    await n.ok(n.vps("destroy", "-y", `${name}-other`));
    const volume = `v-${name}`;
    await n.ok(n.vps("volume", "create", volume, "--size", "300M"));
    await n.ok(n.vps("volume", "attach", volume, `${name}:/data`));
    await exec("sh", "-c", "echo kept > /data/f; sync");
    await n.ok(n.vps("volume", "resize", volume, "500M"));
    const size = Number(/(\d+) +\d+ +\d+ +\d+% \/data/.exec(await exec("df", "-m", "/data"))?.[1]);
    expect(size).toBeGreaterThan(400);
    await n.ok(n.vps("volume", "detach", volume, name));
    expect((await n.vps("exec", name, "--", "cat", "/data/f")).code).not.toBe(0);
    await n.ok(n.vps("volume", "attach", volume, `${name}:/again`));
    expect(await exec("cat", "/again/f")).toBe("kept\n");
  }, 120_000);

  it(`${runtime}: pause, an agent that is killed, standby and its waking, a snapshot with memory`, async () => {
    const { observed: before } = await n.machine(name);
    await n.ok(n.vps("pause", name));
    expect((await n.machine(name)).state).toBe("paused");
    await n.ok(n.vps("resume", name));
    await n.kill("agent");
    await n.until(
      () => n.vps("exec", name, "--", "true"),
      ({ code }) => code === 0,
    );
    expect((await n.machine(name)).observed!.pid).toBe(before!.pid);
    await exec("sh", "-c", "echo $$ > /tmp/in-memory; mount -t tmpfs none /tmp; echo only here > /tmp/note");
    await n.ok(n.vps("standby", name));
    expect((await n.machine(name)).state).toBe("standby");
    expect(await exec("cat", "/tmp/note")).toBe("only here\n");
    expect((await n.machine(name)).observed).toMatchObject({ phase: "running", origin: "memory" });
    await n.ok(n.vps("volume", "detach", `v-${name}`, name));
    await n.ok(n.vps("snapshot", "--memory", name, "whole"));
    await exec("sh", "-c", "echo changed > /tmp/note");
    await n.ok(n.vps("snapshot", "restore", name, "whole"));
    await n.until(
      () => n.machine(name),
      (m) => m.state === "running",
    );
    expect(await exec("cat", "/tmp/note")).toBe("only here\n");
    // And once more to sleep: what it went on from is not what it sleeps on.
    await exec("sh", "-c", "echo twice > /tmp/note");
    await n.ok(n.vps("standby", name));
    expect(await exec("cat", "/tmp/note")).toBe("twice\n");
  }, 180_000);

  it(`${runtime}: its VMM killed it starts anew with its disk; it stops when asked; what it cannot do is refused`, async () => {
    await exec("sh", "-c", "echo on the disk > /file; sync");
    const before = await n.machine(name);
    process.kill(before.observed!.pid!, "SIGKILL");
    await n.until(
      () => n.machine(name),
      (m) => m.state === "running" && m.observed!.pid !== before.observed!.pid,
    );
    expect(await exec("cat", "/file")).toBe("on the disk\n");
    await n.ok(n.vps("stop", name));
    expect(await n.machine(name)).toMatchObject({ state: "stopped", observed: { exitCode: 137, pid: null } });
    await n.ok(n.vps("destroy", "-y", name));
    const folder = await run("-d", "--name", "no", "-v", `${dir}:/d`, "box:1", "sleep", "1");
    if (runtime === "firecracker") expect([folder.code, folder.err]).toEqual([1, expect.stringContaining("cannot mount a folder")]);
    else await n.vps("destroy", "-y", "no");
  }, 120_000);
}

it("a system as a machine: ssh, and an end when it is asked to", async () => {
  await n.ok(n.vps("up", "sys", "--runtime", "firecracker", "--ram", "256M"));
  expect(await n.ok(n.vps("ssh", "sys", "--", "systemctl", "is-system-running", "--wait"))).toMatch(/running|degraded/);
  const began = Date.now();
  await n.ok(n.vps("stop", "sys"));
  expect((await n.machine("sys")).state).toBe("stopped");
  // It ended by itself, and was not ended after 30 seconds.
  expect(Date.now() - began).toBeLessThan(28_000);
}, 180_000);
