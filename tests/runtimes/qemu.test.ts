/** The QEMU class with real machines. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Machine, type MachineOptions } from "#runtimes/qemu/machine.ts";
import { UnsupportedError } from "#runtimes/runtime.ts";
import { CONTRACT } from "./contract.ts";
import { makeGuest, WHY_NO_GUEST } from "./guest.ts";

if (WHY_NO_GUEST) console.log(`SKIP tests/runtimes/qemu: ${WHY_NO_GUEST}`);
const it = test.skipIf(WHY_NO_GUEST !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-qemu-`);
let guest: Awaited<ReturnType<typeof makeGuest>>;
let made = 0;

beforeAll(async () => {
  if (!WHY_NO_GUEST) guest = await makeGuest(dir);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const machine = (more: Partial<MachineOptions> = {}): Machine => {
  const id = `q${++made}`;
  const at = { id, socketPath: `${dir}/${id}.sock`, guestSocket: `${dir}/${id}.guest`, serialPath: `${dir}/${id}.serial` };
  return new Machine({ ...guest, ...at, vcpuCount: 1, memSizeMib: 128, ...more });
};
/** Init is there once it answers. */
const up = async (m: Machine): Promise<void> => {
  for (const deadline = Date.now() + 30_000; ; await Bun.sleep(50))
    try {
      return void (await m.exec(["echo"], 2_000));
    } catch (thrown) {
      if (Date.now() > deadline) throw thrown;
    }
};

for (const [name, promise] of Object.entries(CONTRACT))
  it(
    name,
    async () => {
      const runtime = machine();
      // What is promised of commands holds once the guest is up.
      runtime.handlers.init.append("WaitForGuest", (m) => (name.startsWith("a command") ? up(m) : undefined));
      await promise({ runtime, execs: true, cpus: 1, memoryMib: 128 });
    },
    60_000,
  );

it("a snapshot is gone on from, by another process, with all that was in memory", async () => {
  const first = machine();
  await first.start();
  await up(first);
  await first.exec(["sh", "-c", "echo kept > /note"]);
  await first.createSnapshot(`file://${dir}/state`);
  expect((await first.getInfo()).status).toBe("running");
  await first.stop();
  const second = machine({ from: `file://${dir}/state` });
  expect(second.handlers.init.names).toEqual(["StartVMM", "RestoreVm"]);
  await second.start();
  expect((await second.exec(["cat", "/note"])).stdout).toBe("kept\n");
  await second.stop();
}, 60_000);

it("a q35 gets disks and CPUs while it runs; a microvm says that it cannot", async () => {
  writeFileSync(`${dir}/disk`, Buffer.alloc(2 ** 20));
  const q = machine({ machineType: "q35", maxVcpuCount: 2 });
  await q.start();
  expect(await q.addDisk({ path: `${dir}/disk`, id: "data" })).toBe("data");
  expect(JSON.stringify(await q.qmp("query-block"))).toContain("node-data");
  expect(String(await q.addDisk({ path: `${dir}/none`, id: "none" }).catch((e) => e))).toContain("No such file");
  await q.resize({ vcpuCount: 2 });
  expect((await q.getInfo()).cpus).toBe(2);
  expect(String(await q.resize({ vcpuCount: 3 }).catch((e) => e))).toContain("at most 2 CPUs");
  await q.stop();
  const micro = machine();
  await micro.start();
  expect(await micro.addDisk({ path: `${dir}/disk` }).catch((e) => e)).toBeInstanceOf(UnsupportedError);
  await micro.stop();
}, 60_000);

it("one whose socket is another's leaves that one alone", async () => {
  const first = machine();
  await first.start();
  const second = machine({ socketPath: first.socketPath });
  expect(String(await second.start().catch((e) => e))).toContain("Somebody serves");
  await second.stop();
  expect((await first.getInfo()).status).toBe("running");
  await first.stop();
}, 30_000);

it("what is wrong is said before anything is started; a VMM that ends at once says why", async () => {
  for (const [more, why] of [
    [{ kernelImagePath: "/none" }, 'There is no file "/none"'],
    [{ maxVcpuCount: 4 }, "q35"],
    [{ memSizeMib: 0 }, "at least 1"],
    [{ from: "state" }, "must be a file like"],
    [{ binary: "/nowhere/qemu" }, "Cannot start /nowhere/qemu"],
    [{ vcpuCount: 4096 }, "ended at once: "],
  ] as const) {
    const m = machine(more);
    expect(String(await m.start().catch((e) => e))).toContain(why);
    expect(m.isRunning()).toBe(false);
  }
}, 30_000);
