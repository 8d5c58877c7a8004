/**
 * Firecracker itself: FIRECRACKER_BIN, or what `scripts/main.ts firecracker` has got (build/peers). Its guests are the smallest there
 * are (payload.ts), which also run under a KVM on which Linux does not.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { accessSync, chownSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { tmpdir } from "node:os";
import { removeCgroup } from "#agent/host/cgroup.ts";
import { hostDoors } from "#agent/ground.ts";
import { restoreDisk, shareMemory } from "#agent/host/memory.ts";
import type { VmSpec } from "#runtimes/driver.ts";
import { createFirecracker } from "#runtimes/firecracker/driver.ts";
import { DrivesBuilder, Machine, type MachineOptions } from "#runtimes/firecracker/machine.ts";
import { HttpError } from "#runtimes/http.ts";
import { letters, says } from "./payload.ts";

const ROOT = `${import.meta.dirname}/../..`;
const PEER = `${ROOT}/build/peers/firecracker`;
const BIN = process.env.FIRECRACKER_BIN ?? (existsSync(PEER) ? PEER : undefined);
const JAILER = BIN && `${dirname(BIN)}/jailer`;
const SKIP =
  process.getuid?.() !== 0
    ? "it needs root"
    : BIN === undefined
      ? "FIRECRACKER_BIN names no program, and `scripts/main.ts firecracker` got none"
      : !canUseKvm()
        ? "there is no /dev/kvm"
        : null;
if (SKIP) console.log(`SKIP tests/runtimes/firecracker: ${SKIP}`);
const it = test.skipIf(SKIP !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-firecracker-`);
const TAP = `hlfc${process.pid % 10_000}`;
const UID = 899_990;
let made = 0;

beforeAll(async () => {
  if (SKIP) return;
  await Bun.$`chmod 755 ${dir} && ip tuntap add ${TAP} mode tap`.quiet();
  writeFileSync(`${dir}/letters`, letters(2_000));
  writeFileSync(`${dir}/says`, says("bye\n"));
  for (const [name, mib] of [
    ["root", 1],
    ["data", 2],
    ["more", 4],
  ] as const)
    writeFileSync(`${dir}/${name}`, Buffer.alloc(mib * 2 ** 20));
});
afterAll(async () => {
  if (!SKIP) await Bun.$`ip link delete ${TAP}`.quiet().nothrow();
  rmSync(dir, { recursive: true, force: true });
});

function canUseKvm(): boolean {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const options = (more: MachineOptions = {}): MachineOptions => {
  const id = `real-${++made}`;
  const files = { socketPath: `${dir}/${id}.sock`, logPath: `${dir}/${id}.out`, binary: BIN! };
  return { id, ...files, ...(more.from ? {} : { kernelImagePath: `${dir}/letters`, memSizeMib: 128 }), ...more };
};
const said = (m: { options: MachineOptions }): string =>
  readFileSync(m.options.logPath!, "utf8")
    .split("\n")
    .map((line) => /[A-Z]*$/.exec(line.replace(/\d{4}-\d\d-.*$/, ""))![0])
    .join("");
async function saysMore(look: () => string): Promise<void> {
  const before = look().length;
  for (const deadline = Date.now() + 20_000; look().length < before + 3; await Bun.sleep(20))
    if (Date.now() > deadline) throw new Error(`nothing more than ${look().slice(-80)}`);
}

it("every device and setting is taken as it is sent, and changed while a guest runs", async () => {
  const limit = { bandwidth: { size: 2 ** 20, refill_time: 1000 }, ops: { size: 100, one_time_burst: 10, refill_time: 1000 } };
  for (const name of ["log", "metrics"]) writeFileSync(`${dir}/${name}`, "");
  const m = new Machine(
    options({
      ...{ vcpuCount: 2, smt: false, trackDirtyPages: true, kernelArgs: "console=ttyS0" },
      drives: new DrivesBuilder(`${dir}/root`, { cacheType: "Writeback", partuuid: "0eaa91a0-01" })
        .addDrive(`${dir}/data`, { id: "data", readOnly: true, rateLimiter: limit })
        .addDrive(`${dir}/more`, { id: "more", ioEngine: "Sync" })
        .build(),
      networkInterfaces: [{ iface_id: "eth0", host_dev_name: TAP, guest_mac: "06:00:ac:10:00:02", rx_rate_limiter: limit }],
      vsock: { guest_cid: 3, uds_path: `${dir}/all.vsock` },
      balloon: { amount_mib: 16, deflate_on_oom: true, stats_polling_interval_s: 1 },
      entropy: { rate_limiter: limit },
      logger: { log_path: `${dir}/log`, level: "Debug", show_level: true, show_log_origin: true },
      metrics: { metrics_path: `${dir}/metrics` },
      mmds: { config: { network_interfaces: ["eth0"], version: "V2", ipv4_address: "169.254.169.254" }, data: { latest: { id: "x" } } },
    }),
  );
  m.handlers.init.insertAfter("CreateMachine", "Reconfigure", async ({ api }) => {
    await api.patchMachineConfiguration({ mem_size_mib: 160 });
    await api.putCpuConfiguration({ cpuid_modifiers: [], msr_modifiers: [] });
  });
  await m.start();
  expect(await m.getInfo()).toMatchObject({ id: m.id, status: "running", version: expect.stringMatching(/^\d+\.\d+/) });
  expect(await m.api.getMachineConfiguration()).toMatchObject({ vcpu_count: 2, mem_size_mib: 160, smt: false, track_dirty_pages: true });
  expect(await m.api.describeBalloonConfig()).toMatchObject({ amount_mib: 16, stats_polling_interval_s: 1 });
  expect(await m.api.getFirecrackerVersion()).toMatchObject({ firecracker_version: expect.any(String) });
  await m.updateDrive("more", `${dir}/data`);
  await m.api.patchGuestDriveByID({ drive_id: "data", rate_limiter: limit }, { drive_id: "data" });
  await m.api.patchGuestNetworkInterfaceByID({ iface_id: "eth0", tx_rate_limiter: limit }, { iface_id: "eth0" });
  // Of devices that wait for a driver of the guest's, which has none here.
  expect(String(await m.api.patchBalloon({ amount_mib: 8 }).catch((e) => e))).toContain("not activated yet");
  await m.api.patchBalloonStatsInterval({ stats_polling_interval_s: 2 });
  await m.api.putMmds({ latest: { id: "y" } });
  await m.api.patchMmds({ latest: { more: "z" } });
  expect(await m.api.getMmds()).toEqual({ latest: { id: "y", more: "z" } });
  await m.api.createSyncAction({ action_type: "FlushMetrics" });
  expect(readFileSync(`${dir}/metrics`, "utf8")).toContain('"block_data"');
  expect(readFileSync(`${dir}/log`, "utf8")).toContain("DEBUG");
  const { drives } = await m.api.getExportVmConfig();
  expect(drives!.map((d) => [d.drive_id, d.path_on_host])).toEqual([
    ["rootfs", `${dir}/root`],
    ["data", `${dir}/data`],
    ["more", `${dir}/data`],
  ]);
  // What it refuses is said in its own words.
  const refused = await m.api.putMachineConfiguration({ vcpu_count: 1, mem_size_mib: 64 }).catch((e) => e as HttpError);
  expect([refused, String(refused)]).toEqual([expect.any(HttpError), expect.stringContaining("not supported after starting")]);
  await m.stop();
  expect(existsSync(m.socketPath)).toBe(false);
}, 60_000);

it("a guest goes on from a snapshot, a full one and a difference, in another process; one that resets ends its VMM", async () => {
  const first = new Machine(options({ trackDirtyPages: true }));
  await first.start();
  await saysMore(() => said(first));
  await first.createSnapshot(`${dir}/full.snap`, `${dir}/full.mem`);
  await saysMore(() => said(first));
  await first.createSnapshot(`${dir}/diff.snap`, `${dir}/diff.mem`, { diff: true });
  await first.stop();
  for (const from of ["full"]) {
    const mem_backend = { backend_type: "File" as const, backend_path: `${dir}/${from}.mem` };
    const next = new Machine(options({ from: { snapshot_path: `${dir}/${from}.snap`, mem_backend } }));
    await next.start();
    await saysMore(() => said(next));
    await next.pause();
    expect((await next.getInfo()).status).toBe("paused");
    await next.resume();
    await next.stop();
  }
  const last = new Machine(options({ kernelImagePath: `${dir}/says` }));
  await last.start();
  expect(await last.wait()).toBe(0);
  expect(readFileSync(last.options.logPath!, "utf8")).toContain("bye\n");
}, 60_000);

it("in its jailer's cell: another user, a network namespace, limits; nothing of it is left", async () => {
  await Bun.$`ip netns add ${TAP}`.quiet();
  try {
    const jail = { uid: UID, gid: UID, chrootBase: `${dir}/cells`, jailerBin: JAILER!, netns: `/run/netns/${TAP}` };
    const { socketPath: _, ...rest } = options();
    const groups = existsSync("/sys/fs/cgroup/cgroup.controllers") ? { cgroups: { "pids.max": "50" }, parentCgroup: TAP } : {};
    const m = new Machine({ ...rest, jail: { ...jail, ...groups, cgroupVersion: 2, limits: { "no-file": 512 } } });
    await m.start();
    await saysMore(() => readFileSync(m.options.logPath!, "utf8"));
    const status = readFileSync(`/proc/${m.getPid()}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\t${UID}\t${UID}`, "m"));
    expect(readFileSync(`/proc/${m.getPid()}/limits`, "utf8")).toMatch(/^Max open files +512 +512/m);
    expect(Bun.spawnSync(["readlink", `/proc/${m.getPid()}/ns/net`]).stdout.toString()).not.toBe(
      Bun.spawnSync(["readlink", "/proc/self/ns/net"]).stdout.toString(),
    );
    expect((await m.getInfo()).status).toBe("running");
    await m.stop();
    expect(existsSync(`${dir}/cells/firecracker/${m.id}`)).toBe(false);
  } finally {
    await Bun.$`ip netns delete ${TAP}`.quiet();
    await Bun.$`rmdir /sys/fs/cgroup/${TAP}/* /sys/fs/cgroup/${TAP}`.quiet().nothrow();
  }
}, 60_000);

it("as an agent runs it: as nobody, found again, volumes in and out of their places, saved and gone on from", async () => {
  const doors = hostDoors(`t${process.pid}`);
  // A group of its own may use KVM, as udev has it elsewhere.
  await Bun.$`mknod -m 660 ${dir}/kvm c 10 232 && chgrp ${UID} ${dir}/kvm`.quiet();
  const see = ["unshare", "-m", "sh", "-c", `mount --bind ${dir}/kvm /dev/kvm && exec "$@"`, "sh"];
  const host = { ...doors, spawn: (argv: string[], how: Parameters<typeof doors.spawn>[1]) => doors.spawn([...see, ...argv], how) };
  const driver = createFirecracker(host, { binary: BIN!, relay: `${ROOT}/build/guest/relay` });
  const runDir = `${dir}/run/m-agent`;
  mkdirSync(dirname(runDir), { mode: 0o755 });
  for (const name of ["console", "workload"]) (writeFileSync(`${dir}/${name}.log`, ""), chownSync(`${dir}/${name}.log`, UID, UID));
  for (const name of ["data", "more"]) chownSync(`${dir}/${name}`, UID, UID);
  await Bun.$`chmod 644 ${dir}/letters && ip link delete ${TAP} && ip tuntap add ${TAP} mode tap user ${UID}`.quiet();
  const spec: VmSpec = {
    ...{ id: "m-agent", name: "agent", cpu: 1, memoryMib: 128, kernel: `${dir}/letters`, initramfs: `${dir}/letters` },
    ...{ image: `${dir}/letters`, disk: `${dir}/data`, folders: [], devices: [], tap: TAP, mac: "52:48:00:00:00:05", uid: UID },
    ...{
      own: null,
      accelerator: "kvm",
      tscKhz: 0,
      runDir,
      consoleLog: `${dir}/console.log`,
      workloadLog: `${dir}/workload.log`,
      init: null,
      from: null,
    },
    volumes: Array.from({ length: 5 }, () => ({ file: null, readonly: false })),
  };
  const said = (): string => readFileSync(`${dir}/console.log`, "utf8");
  const vm = await driver.start(spec, AbortSignal.timeout(20_000));
  await saysMore(said);
  expect(said()).toMatch(/^[A-Z]+$/);
  const status = readFileSync(`/proc/${vm.process.pid}/status`, "utf8");
  expect(status).toMatch(new RegExp(`^Uid:\t${UID}\t`, "m"));
  expect(status).toMatch(/^CapBnd:\t0+$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(await driver.list(dirname(runDir))).toContainEqual({ id: "m-agent", process: vm.process });
  vm.detach();
  const found = (await driver.attach(vm.process, runDir))!;
  expect(await found.state()).toBe("running");
  await found.insertVolume(0, `${dir}/more`);
  await Bun.$`truncate -s 8M ${dir}/more`.quiet();
  await found.growVolume(0, 8 * 2 ** 20);
  await found.removeVolume(0, false);
  await found.save({ devices: `${dir}/devices`, pages: `${dir}/pages`, whole: null }, 128);
  expect(await found.state()).toBe("paused");
  const gone = Promise.withResolvers<string>();
  found.onChange(gone.resolve);
  await found.quit();
  expect([await gone.promise, await found.state()]).toEqual(["gone", "gone"]);
  // What was packed is its RAM, byte for byte as long.
  await restoreDisk(`${dir}/pages`, `${dir}/unpacked`, 128 * 2 ** 20);
  const memory = await shareMemory(`${dir}/pages`, 128 * 2 ** 20);
  writeFileSync(`${dir}/console.log`, "");
  const from = { memory: async () => memory, devices: `${dir}/devices`, own: null, paused: true };
  const next = await driver.start({ ...spec, from }, AbortSignal.timeout(20_000));
  expect([await next.state(), said()]).toEqual(["paused", ""]);
  await next.resume();
  await saysMore(said);
  await next.quit();
  next.detach();
  expect(await driver.attach(next.process, runDir)).toBeUndefined();
  rmSync(runDir, { recursive: true });
  await removeCgroup(`t${process.pid}.m-agent`);
}, 60_000);
