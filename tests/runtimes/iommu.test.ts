/**
 * Devices of a host with an IOMMU: QEMU emulates one, and Debian's kernel in it knows what to do with it. What runs there is the
 * agent's own code, on a sysfs that is the kernel's: groups, drivers that let go, vfio-pci, and back.
 */
import { afterAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname } from "node:path";
import type { Device } from "#contract/resources/device.ts";

const ROOT = `${import.meta.dirname}/../..`;
const KERNEL = `${ROOT}/build/work/kernel`;
const SKIP = !existsSync(`${KERNEL}/boot`)
  ? "build/work/kernel is missing: run scripts/main.ts guest"
  : existsSync("/bin/busybox")
    ? null
    : "busybox-static is not installed";
if (SKIP) console.log(`SKIP tests/runtimes/iommu: ${SKIP}`);
const dir = mkdtempSync(`${tmpdir()}/hl-iommu-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** In the order in which they are loaded. */
const MODULES = [
  ...["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover", "net_failover"],
  ...["virtio_net", "irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"],
];

test.skipIf(SKIP !== null)(
  "a device goes to vfio-pci and back to its driver; one whose group is shared does not",
  async () => {
    const root = `${dir}/initramfs`;
    for (const d of ["bin", "dev", "proc", "sys", "tmp", "lib64", "lib/x86_64-linux-gnu", "modules"])
      mkdirSync(`${root}/${d}`, { recursive: true });
    cpSync("/bin/busybox", `${root}/bin/busybox`);
    for (const name of ["sh", "mount", "insmod", "poweroff"]) symlinkSync("busybox", `${root}/bin/${name}`);
    const found = (await Bun.$`find ${KERNEL}/lib -name ${"*.ko"}`.text()).trim().split("\n");
    for (const m of MODULES)
      cpSync(
        found.find((p) => basename(p) === `${m}.ko`)!,
        `${root}/modules/${m}.ko`,
      );
    await Bun.$`${process.execPath} build --compile ${import.meta.dirname}/iommu-inside.ts --outfile ${root}/bin/inside`.quiet();
    for (const [, path] of (await Bun.$`ldd ${root}/bin/inside`.text()).matchAll(/(\/lib\S+)/g)) {
      mkdirSync(`${root}${dirname(path!)}`, { recursive: true });
      cpSync(path!, `${root}${path}`, { dereference: true });
    }
    writeFileSync(
      `${root}/init`,
      [
        "#!/bin/sh",
        "mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys",
        ...MODULES.map((m) => `insmod /modules/${m}.ko`),
        "/bin/inside",
        "poweroff -f",
      ].join("\n"),
      { mode: 0o755 },
    );
    await Bun.$`cd ${root} && find . | cpio -o -H newc --quiet > ${dir}/initrd`.quiet();
    const kernel = readdirSync(`${KERNEL}/boot`).find((f) => f.startsWith("vmlinuz"))!;
    // Alone in its group behind a port of its own; two behind a bridge, which an IOMMU cannot tell apart.
    const nic = "virtio-net-pci,disable-legacy=on,iommu_platform=on";
    const machine = [
      ...["-M", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on", "-m", "1G", "-accel", "tcg", "-cpu", "max"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"],
      ...["-device", "pcie-root-port,id=port1,chassis=1", "-device", `${nic},bus=port1`],
      ...["-device", "pcie-root-port,id=port2,chassis=2", "-device", "pcie-pci-bridge,id=bridge,bus=port2"],
      ...["-device", `${nic},bus=bridge,addr=1`, "-device", `${nic},bus=bridge,addr=2`],
      ...["-kernel", `${KERNEL}/boot/${kernel}`, "-initrd", `${dir}/initrd`],
      ...["-append", "console=ttyS0 quiet intel_iommu=on panic=-1"],
    ];
    const child = Bun.spawn(["qemu-system-x86_64", ...machine], {
      stdout: "pipe",
      stderr: "inherit",
      timeout: 120_000,
      killSignal: "SIGKILL",
    });
    const text = await new Response(child.stdout).text();
    const said = <T>(what: string): T => {
      const line = new RegExp(`IOMMU ${what} (.*?)\r?$`, "m").exec(text)?.[1];
      if (line === undefined) throw new Error(`nothing of "${what}" in:\n${text.slice(-3000)}`);
      return JSON.parse(line) as T;
    };
    const [alone, ...shared] = said<Device[]>("found");
    expect(alone).toMatchObject({ kind: "network", driver: "virtio-pci", unavailable: null, group: expect.any(Number) });
    expect(new Set(shared.map((d) => d.group)).size).toBe(1);
    for (const d of shared) expect(d.unavailable).toContain(`its IOMMU group ${d.group} is shared with`);
    expect(said<object>("lent")).toEqual({
      ...{ addresses: [alone!.address], groups: [alone!.group], driver: "vfio-pci", files: [true] },
      taken: [{ address: alone!.address, driver: "virtio-pci" }],
    });
    expect(said<string>("back")).toBe("virtio-pci");
    expect(said<string>("shared")).toContain("is shared with");
  },
  180_000,
);
