/**
 * Firecracker and Cloud Hypervisor: the same promises, and every request held to their own API tables. With FIRECRACKER_BIN and
 * CLOUD_HYPERVISOR_BIN on the real programs; else on what stands in for them, in front of a real machine that answers commands.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Machine as CloudHypervisor, type MachineOptions as CloudHypervisorOptions } from "#runtimes/cloud-hypervisor/machine.ts";
import { ENDPOINTS as CLOUD_HYPERVISOR } from "#runtimes/cloud-hypervisor/schema.ts";
import { RequestError } from "#runtimes/endpoints.ts";
import { jailerArgv, jailRoot } from "#runtimes/firecracker/command.ts";
import { DrivesBuilder, Machine as Firecracker, type MachineOptions as FirecrackerOptions } from "#runtimes/firecracker/machine.ts";
import { ENDPOINTS as FIRECRACKER } from "#runtimes/firecracker/schema.ts";
import { Machine as Qemu } from "#runtimes/qemu/machine.ts";
import { UnsupportedError } from "#runtimes/runtime.ts";
import { CONTRACT } from "./contract.ts";
import { makeGuest, WHY_NO_GUEST } from "./guest.ts";

if (WHY_NO_GUEST) console.log(`SKIP tests/runtimes/vmms: ${WHY_NO_GUEST}`);
const it = test.skipIf(WHY_NO_GUEST !== null);

const dir = mkdtempSync(`${tmpdir()}/hl-vmms-`);
const PEER = `${import.meta.dirname}/../../build/peers/firecracker`;
const real = {
  firecracker: process.env.FIRECRACKER_BIN ?? (existsSync(PEER) && existsSync("/dev/kvm") ? PEER : undefined),
  "cloud-hypervisor": process.env.CLOUD_HYPERVISOR_BIN,
};
for (const [name, found] of Object.entries(real))
  if (!found) console.log(`SKIP tests/runtimes/vmms, ${name} itself only: none is here; its requests are held to its API table`);
let behind: Qemu;
let guest: Awaited<ReturnType<typeof makeGuest>>;
let made = 0;

beforeAll(async () => {
  for (const kind of ["firecracker", "cloud-hypervisor"]) {
    const script = `#!/bin/sh\nRECORD=${dir}/record exec ${process.execPath} ${import.meta.dirname}/stand-in.ts ${kind} "$@"\n`;
    writeFileSync(`${dir}/${kind}`, script);
    chmodSync(`${dir}/${kind}`, 0o755);
  }
  writeFileSync(`${dir}/rootfs.ext4`, "");
  if (WHY_NO_GUEST) return;
  guest = await makeGuest(dir);
  behind = new Qemu({ ...guest, socketPath: `${dir}/behind.sock`, guestSocket: `${dir}/behind.guest` });
  process.env.GUEST = behind.options.guestSocket;
  await behind.start();
  for (let i = 0; i < 200; i++)
    if (
      await behind.exec(["echo"], 1_000).then(
        () => true,
        () => Bun.sleep(50).then(() => false),
      )
    )
      break;
}, 60_000);
afterAll(async () => {
  await behind?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What was asked since it was last looked at. */
const asked = (): { name?: string; argv?: string[]; body?: object; error?: string }[] => {
  const lines = existsSync(`${dir}/record`) ? readFileSync(`${dir}/record`, "utf8").trim().split("\n") : [];
  rmSync(`${dir}/record`, { force: true });
  return lines.filter(Boolean).map((l) => JSON.parse(l) as object);
};
const names = (all: ReturnType<typeof asked>): string[] => all.flatMap((a) => a.name ?? []);

const firecracker = (more: Partial<FirecrackerOptions> = {}, binary = `${dir}/firecracker`): Firecracker =>
  new Firecracker({
    id: `fc-${++made}`,
    binary,
    socketPath: `${dir}/fc-${made}.sock`,
    kernelImagePath: "/path/to/vmlinux",
    kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off",
    vcpuCount: 2,
    memSizeMib: 512,
    drives: new DrivesBuilder(`${dir}/rootfs.ext4`).build(),
    vsock: { guest_cid: 3, uds_path: `${dir}/fc-${made}.vsock` },
    ...more,
  });
const cloudHypervisor = (more: Partial<CloudHypervisorOptions> = {}): CloudHypervisor =>
  new CloudHypervisor({
    id: `ch-${++made}`,
    binary: `${dir}/cloud-hypervisor`,
    socketPath: `${dir}/ch-${made}.sock`,
    payload: { kernel: "/path/to/vmlinux", cmdline: "console=ttyS0 root=/dev/vda rw" },
    cpus: { boot_vcpus: 4, max_vcpus: 8 },
    memory: { size: 1024 * 1024 * 1024, hotplug_size: 512 * 1024 * 1024 },
    disks: [{ path: `${dir}/rootfs.ext4`, readonly: false }],
    vsock: { cid: 3, socket: `${dir}/ch-${made}.vsock` },
    ...more,
  });

/** The real program gets a real kernel, and no more: what a guest does under this host's KVM is not what is tested. */
const realFirecracker = (binary: string): Firecracker => {
  const { vsock: _, drives: _d, ...plain } = firecracker().options;
  return new Firecracker({ ...plain, ...guest, binary });
};
const realCloudHypervisor = (binary: string): CloudHypervisor => {
  const { vsock: _, disks: _d, ...plain } = cloudHypervisor().options;
  const payload = { kernel: guest.kernelImagePath, initramfs: guest.initrdPath, cmdline: guest.kernelArgs };
  return new CloudHypervisor({ ...plain, payload, binary });
};

for (const [name, promise] of Object.entries(CONTRACT)) {
  const [fc, ch] = [real.firecracker, real["cloud-hypervisor"]];
  const of = { fc: { cpus: 2, memoryMib: 512 }, ch: { cpus: 4, memoryMib: 1024 } };
  it(`Firecracker, stood in for: ${name}`, () => promise({ runtime: firecracker(), execs: true, ...of.fc }), 60_000);
  if (fc) it(`Firecracker itself: ${name}`, () => promise({ runtime: realFirecracker(fc), execs: false, ...of.fc }), 60_000);
  it(`Cloud Hypervisor, stood in for: ${name}`, () => promise({ runtime: cloudHypervisor(), execs: true, ...of.ch }), 60_000);
  if (ch) it(`Cloud Hypervisor itself: ${name}`, () => promise({ runtime: realCloudHypervisor(ch), execs: false, ...of.ch }), 60_000);
}

/** What was asked, wherever this test runs. */
const plain = (what: unknown): unknown =>
  JSON.parse(
    JSON.stringify(what)
      .replaceAll(dir, "DIR")
      .replace(/\b(fc|ch)-\d+/g, "$1-N"),
  );

it("Firecracker is asked what its example asks for, in order, and nothing else", async () => {
  asked();
  const m = firecracker({
    drives: new DrivesBuilder(`${dir}/rootfs.ext4`)
      .addDrive("/data.ext4", { id: "data", readOnly: true, rateLimiter: { ops: { size: 100, refill_time: 1000 } } })
      .build(),
    networkInterfaces: [{ iface_id: "eth0", host_dev_name: "tap0", guest_mac: "06:00:ac:10:00:02" }],
    balloon: { amount_mib: 64, deflate_on_oom: true },
    entropy: {},
    logger: { log_path: "/log", level: "Info" },
    metrics: { metrics_path: "/metrics" },
    mmds: { config: { network_interfaces: ["eth0"], version: "V2" }, data: { latest: { "meta-data": { id: "x" } } } },
  });
  const order: string[] = [];
  m.handlers.init.prepend("MyHandler", (self) => void order.push(self.id)).replace("AddEntropy", () => void order.push("instead"));
  await m.start();
  expect(order).toEqual([m.id, "instead"]);
  const all = asked();
  expect(all[0]!.argv).toEqual(["--id", m.id, "--api-sock", m.socketPath]);
  expect(plain(all.slice(1))).toMatchSnapshot();
  expect(all.filter((a) => a.error)).toEqual([]);
  await m.createSnapshot("/snap", "/mem", { diff: true });
  await m.updateDrive("data", "/other.ext4");
  await m.api.patchGuestNetworkInterfaceByID(
    { iface_id: "eth0", rx_rate_limiter: { bandwidth: { size: 1, refill_time: 1 } } },
    { iface_id: "eth0" },
  );
  await m.api.patchMmds({ latest: null });
  expect(await m.api.getMmds()).toEqual({ latest: {} });
  expect(names(asked())).toEqual([
    ...[
      "describeInstance",
      "patchVm",
      "createSnapshot",
      "patchVm",
      "patchGuestDriveByID",
      "patchGuestNetworkInterfaceByID",
      "patchMmds",
      "getMmds",
    ],
  ]);
  // What the API would not take is not sent.
  expect(await m.api.putBalloon({ amount_mib: -1, deflate_on_oom: true }).catch((e) => e)).toBeInstanceOf(RequestError);
  expect(asked()).toEqual([]);
  await m.shutdown();
  const again = firecracker({ from: { snapshot_path: "/snap", mem_backend: { backend_type: "File", backend_path: "/mem" } } });
  await again.start();
  expect(names(asked()).slice(-1)).toEqual(["loadSnapshot"]);
  expect((await again.getInfo()).status).toBe("running");
  await again.stop();
}, 60_000);

it("Cloud Hypervisor is asked what its example asks for, in order, and nothing else", async () => {
  asked();
  const m = cloudHypervisor({ net: [{ tap: "tap0", mac: "02:00:00:00:00:01" }] });
  await m.start();
  expect(await m.addDisk({ path: "/path/to/data.ext4", id: "data" })).toEqual({ id: "data", bdf: "0000:00:06.0" });
  await m.resize({ desired_vcpus: 6, desired_ram: 2 * 1024 * 1024 * 1024 });
  await m.createSnapshot("file:///path/to/snapshot");
  await m.resizeZone({ id: "zone0", desired_ram: 2 ** 30 });
  await m.resizeDisk({ id: "data", desired_size: 2 ** 30 });
  await m.addNet({ tap: "tap1" });
  await m.addFs({ tag: "share", socket: "/fs.sock", num_queues: 1, queue_size: 1024 });
  await m.addPmem({ file: "/pmem" });
  await m.addDevice({ path: "/sys/bus/pci/devices/0000:01:00.0" });
  await m.addUserDevice({ socket: "/user.sock" });
  await m.addVdpa({ path: "/dev/vhost-vdpa-0", num_queues: 1 });
  await m.addVsock({ cid: 4, socket: "/vsock.sock" });
  await m.removeDevice("data");
  expect(await m.counters()).toEqual({ _disk0: { read_bytes: 1 } });
  await m.coredump("file:///core");
  await m.sendMigration({ destination_url: "unix:/other.sock", local: true });
  await m.reboot();
  const all = asked();
  expect(plain(all.slice(1).map(({ name, body }) => [name, body]))).toMatchSnapshot();
  expect(all.filter((a) => a.error)).toEqual([]);
  await m.shutdown();
  expect(names(asked())).toEqual(["powerButtonVm"]);
  const again = cloudHypervisor({ from: { source_url: "file:///path/to/snapshot", prefault: true } });
  await again.start();
  expect((await again.getInfo()).status).toBe("paused");
  await again.stop();
}, 60_000);

test("every endpoint stands in the tables", () => {
  expect(
    Object.values(FIRECRACKER)
      .map((e) => `${e.method} ${e.path}`)
      .sort(),
  ).toMatchSnapshot();
  expect(
    Object.values(CLOUD_HYPERVISOR)
      .map((e) => `${e.method} ${e.path}`)
      .sort(),
  ).toMatchSnapshot();
});

it("what is wrong is said before anything is started, and what a request breaks on leaves nothing running", async () => {
  for (const [machine, why] of [
    [firecracker({ vcpuCount: 64 }), "vcpuCount must be 1 to 32"],
    [
      firecracker({
        networkInterfaces: [
          { iface_id: "a", host_dev_name: "t" },
          { iface_id: "a", host_dev_name: "u" },
        ],
      }),
      'Two network interfaces are called "a"',
    ],
    [firecracker({ mmds: { config: { network_interfaces: ["eth9"] } } }), '"eth9", which is not there'],
    [firecracker({ balloon: { amount_mib: 1.5, deflate_on_oom: true } }), "SetupBalloon: putBalloon"],
    [firecracker({}, "/nowhere/firecracker"), "StartVMM: Cannot start"],
    [cloudHypervisor({ payload: {} }), "payload.kernel or payload.firmware"],
    [cloudHypervisor({ cpus: { boot_vcpus: 4, max_vcpus: 2 } }), "max_vcpus (2) is less than"],
    [cloudHypervisor({ net: [{ mac: "x" }] }), "no MAC address"],
    [cloudHypervisor({ disks: [{}] }), "Each disk needs a path"],
  ] as const) {
    expect(String(await machine.start().catch((e) => e))).toContain(why);
    expect([machine.isRunning(), existsSync(machine.socketPath)]).toEqual([false, false]);
  }
  const { vsock: _, ...without } = firecracker().options;
  expect(await new Firecracker(without).exec(["true"]).catch((e) => e)).toBeInstanceOf(UnsupportedError);
}, 30_000);

it("the jailer is told all that holds its cell, and its files are there under their names in it", async () => {
  const jail = {
    ...{ uid: 4242, gid: 4243, chrootBase: `${dir}/jails`, jailerBin: `${dir}/jailer`, netns: "/run/netns/x", newPidNs: true },
    ...{ cgroups: { "cpu.max": "100000 100000", "memory.max": "1G" }, parentCgroup: "vms", limits: { "no-file": 1024 } },
  };
  // A jailer that moves in by name alone: what it was told is looked at, and what it would have found.
  writeFileSync(
    `${dir}/jailer`,
    `#!/bin/sh\necho "$@" > ${dir}/jailed\nmkdir ${dir}/jails/firecracker/jailed-1/root/run\nexec ${dir}/firecracker --id x --api-sock ${dir}/jails/firecracker/jailed-1/root/run/firecracker.socket\n`,
  );
  chmodSync(`${dir}/jailer`, 0o755);
  writeFileSync(`${dir}/vmlinux`, "kernel");
  const m = firecracker({ id: "jailed-1", jail, kernelImagePath: `${dir}/vmlinux` }, `${dir}/firecracker`);
  asked();
  await m.start();
  expect(readFileSync(`${dir}/jailed`, "utf8").trim()).toBe(
    jailerArgv(jail, { binary: `${dir}/firecracker`, id: "jailed-1" })
      .slice(1)
      .join(" "),
  );
  const root = jailRoot(jail, `${dir}/firecracker`, "jailed-1");
  const { uid, gid, nlink } = statSync(`${root}/vmlinux`);
  expect([uid, gid, nlink]).toEqual([4242, 4243, 2]);
  expect(asked().find((a) => a.name === "putGuestBootSource")!.body).toMatchObject({ kernel_image_path: "/vmlinux" });
  // Another of that id touches nothing of it.
  const other = firecracker({ id: "jailed-1", jail, kernelImagePath: `${dir}/vmlinux` }, `${dir}/firecracker`);
  expect(String(await other.start().catch((e) => e))).toContain("There is a cell of that id already");
  expect([existsSync(`${root}/vmlinux`), (await m.getInfo()).status]).toEqual([true, "running"]);
  await m.stop();
  expect([existsSync(root), existsSync(`${dir}/vmlinux`)]).toEqual([false, true]);
}, 30_000);
