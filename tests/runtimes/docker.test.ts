/** The Docker class against a real engine, and the example of its seed as it stands there. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { startDocker, whyNoDocker } from "#tests/oci/docker.ts";
import { Container, type ContainerOptions } from "#runtimes/docker/container.ts";
import { HttpError } from "#runtimes/http.ts";
import { CONTRACT } from "./contract.ts";

const SKIP = (await whyNoDocker()) ?? (existsSync("/bin/busybox") ? null : "busybox-static is not installed");
if (SKIP) console.log(`SKIP tests/runtimes/docker: ${SKIP}`);
const it = test.skipIf(SKIP !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-docker-`);
const socketPath = `${dir}/docker.sock`;
let d: Awaited<ReturnType<typeof startDocker>>;
let made = 0;

beforeAll(async () => {
  if (SKIP) return;
  d = await startDocker({ dir });
  const root = `${dir}/root`;
  mkdirSync(`${root}/bin`, { recursive: true });
  cpSync("/bin/busybox", `${root}/bin/busybox`);
  for (const name of ["sh", "sleep", "echo", "head", "cat", "id", "touch", "env", "mknod"])
    Bun.spawnSync(["ln", "-s", "busybox", `${root}/bin/${name}`]);
  const archive = Bun.spawn(["tar", "-C", root, "-cf", "-", "."], { stdout: "pipe" }).stdout as unknown as AsyncIterable<Uint8Array>;
  await new Container({ id: "import", image: "box:1", socketPath }).import(archive, { load: false });
}, 60_000);
afterAll(async () => {
  await d?.close();
  rmSync(dir, { recursive: true, force: true });
}, 30_000);

const container = (more: Partial<ContainerOptions> = {}): Container =>
  new Container({
    id: `c-${++made}`,
    socketPath,
    image: "box:1",
    cmd: ["sleep", "1000"],
    cpus: 0.5,
    memoryMib: 64,
    network: "none",
    stopTimeoutS: 0,
    ...more,
  });

for (const [name, promise] of Object.entries(CONTRACT))
  it(
    name,
    async () => {
      const runtime = container();
      await promise({ runtime, execs: true, cpus: 0.5, memoryMib: 64 });
      await runtime.remove({ force: true });
      expect(await runtime.getInfo().catch((e) => e)).toBeInstanceOf(HttpError);
    },
    60_000,
  );

it("the seed's example: environment, folders, a restart policy, exec, the last lines of its log", async () => {
  mkdirSync(`${dir}/app`);
  const c = container({
    cmd: ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo $PORT > /app/port; exec sleep 1000"],
    env: { NODE_ENV: "production", PORT: "3000" },
    volumes: [{ hostPath: `${dir}/app`, containerPath: "/app", readOnly: false }],
    restart: "unless-stopped",
  });
  const order: string[] = [];
  c.handlers.init
    .prepend("MyHandler", (self) => void order.push(`before ${self.id}`))
    .insertAfter("CreateContainer", "Made", () => void order.push("made"));
  expect(c.handlers.init.names).toEqual(["MyHandler", "PullImage", "CreateContainer", "Made", "StartContainer"]);
  await c.start();
  expect(order).toEqual([`before ${c.id}`, "made"]);
  expect((await c.exec(["sh", "-c", "echo $NODE_ENV"])).stdout).toBe("production\n");
  expect(await c.logs({ tail: 2 })).toBe("line 4\nline 5\n");
  expect(readFileSync(`${dir}/app/port`, "utf8")).toBe("3000\n");
  await c.restart();
  expect(c.isRunning()).toBe(true);
  // Ended by itself it is started again; stopped it is not.
  const before = c.getPid();
  process.kill(before!, "SIGKILL");
  for (let i = 0; i < 200 && ((await c.getInfo()).status !== "running" || c.getPid() === before); i++) await Bun.sleep(50);
  expect(c.getPid()).not.toBe(before);
  await c.stop();
  expect((await c.getInfo()).status).toBe("stopped");
  await c.remove();
}, 60_000);

it("it is confined: rights, processes, RAM, and, where asked, a root that cannot be written to", async () => {
  const c = container({ readOnlyRoot: true, pidsMax: 20 });
  await c.start();
  const status = readFileSync(`/proc/${c.getPid()}/status`, "utf8");
  expect(status).toMatch(/^CapBnd:\t00000000000004fb$/m);
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect((await c.exec(["sh", "-c", "touch /x; touch /tmp/x && echo fine"])).stdout).toBe("fine\n");
  expect((await c.exec(["mknod", "/tmp/d", "b", "8", "0"])).exitCode).not.toBe(0);
  const stats = await c.stats();
  expect(stats).toMatchObject({ memoryLimitMib: 64 });
  expect(stats.memoryMib).toBeWithin(0, 64);
  await c.resize({ memoryMib: 96 });
  expect((await c.stats()).memoryLimitMib).toBe(96);
  const forks = await c.exec([
    "sh",
    "-c",
    "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do sleep 5 & done; echo",
  ]);
  expect(forks.stderr).toContain("can't fork");
  await c.remove({ force: true });
}, 60_000);

it("what happens to it can be followed", async () => {
  const c = container();
  await c.start();
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { action } of c.events(stop.signal)) if (seen.push(action) && action === "die") return;
  })();
  await Bun.sleep(300);
  await c.pause();
  await c.resume();
  await c.kill();
  await watching;
  stop.abort();
  expect(seen).toEqual(["pause", "unpause", "kill", "die"]);
  await c.remove();
}, 30_000);

it("what is wrong is said before anything is made", async () => {
  for (const [options, why] of [
    [{ id: "a b" }, "is no name for a container"],
    [{ memoryMib: 1 }, "at least 6"],
    [{ cpus: 0 }, "more than 0"],
    [{ image: "nowhere.invalid/none:1", pull: "always" }, "PullImage: "],
    [{ image: "none:1", pull: "never" }, "CreateContainer: "],
  ] as const)
    expect(
      String(
        await container(options)
          .start()
          .catch((e) => e),
      ),
    ).toContain(why);
  writeFileSync(`${dir}/not-a-tar`, "x".repeat(2000));
  const bad = Bun.file(`${dir}/not-a-tar`).stream() as unknown as AsyncIterable<Uint8Array>;
  expect(
    String(
      await container()
        .import(bad)
        .catch((e) => e),
    ),
  ).toMatch(/Error/);
}, 30_000);
