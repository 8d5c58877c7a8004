import { expect, test } from "bun:test";
import type { VmSpec } from "../driver.ts";
import { qemuArgv } from "./command.ts";

const spec: VmSpec = {
  id: "m-abcdefghijkl",
  name: "api-prod",
  cpu: 2,
  memoryMib: 1024,
  kernel: "/g/vmlinux",
  initramfs: "/g/initramfs",
  image: "/i/d.erofs",
  disk: "/d/m,x/disk.raw",
  volumes: [
    { file: "/d/v,y/disk.raw", readonly: true },
    { file: null, readonly: false },
  ],
  folders: [],
  devices: [],
  tap: "hl-abcdefghijkl",
  mac: "52:54:00:00:00:02",
  uid: 900002,
  accelerator: "tcg",
  own: null,
  tscKhz: 2000000,
  runDir: "/run/hyperlane/n-1/m-abcdefghijkl",
  consoleLog: "/l/console.log",
  workloadLog: "/l/workload.log",
  init: "/sbin/init",
  from: null,
};

test("what the host executes for a machine", () => {
  expect(`${qemuArgv(spec, null).join(" ").replaceAll(" -", "\n  -")}`).toMatchSnapshot();
});

test("with KVM: the host's CPU, and the one group that may open the device", () => {
  const argv = qemuArgv({ ...spec, accelerator: "kvm" }, 104);
  expect(argv).toContain("--groups=104");
  expect([argv[argv.indexOf("-accel") + 1], argv[argv.indexOf("-cpu") + 1]]).toEqual(["kvm", "host"]);
});

test("folders: virtiofs and RAM that its daemon shares", () => {
  const argv = qemuArgv({ ...spec, folders: [{ source: "/srv/a", readonly: true }] }, null);
  expect(argv.filter((a) => /memory|vhost|folder|force-legacy/.test(a))).toMatchSnapshot();
});

test("a comma in a path cannot begin another option", () => {
  expect(qemuArgv(spec, null).join(" ")).toContain("file.filename=/d/m,,x/disk.raw,");
});

test("a device of the host's: a bus for it, and RAM that stays where the device writes to it", () => {
  const argv = qemuArgv({ ...spec, devices: ["0000:01:00.0", "0000:01:00.1"] }, null);
  expect(argv.slice(0, 4)).toEqual(["prlimit", "--memlock=unlimited:unlimited", "--", "setpriv"]);
  expect(argv.filter((a) => /vfio|pcie=/.test(a))).toEqual([
    expect.stringContaining(",pcie=on,"),
    "vfio-pci,host=0000:01:00.0",
    "vfio-pci,host=0000:01:00.1",
  ]);
});
