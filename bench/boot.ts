/**
 * From nothing to a server that has answered a command over SSH: `vps up` and `vps ssh`, beside libvirt's `virsh create`
 * of a Debian that cloud-init sets up, with the same kernel and on its usual machine type. Needs root, libvirt, and a
 * kernel with all built in (`scripts/main.ts kernel`); a node of its own is made and removed.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { startNode } from "#tests/e2e/node.ts";
import { ROOT, sh } from "#scripts/sh.ts";
import { kernelCommandLine } from "#runtimes/command.ts";
import { median, report } from "./report.ts";

const ROUNDS = 3;
const PORT = "2222";
const LIMIT_MS = 300_000;
/** Beside what debootstrap calls the least. */
const PACKAGES = "systemd,systemd-sysv,dbus,udev,openssh-server,libpam-systemd,iproute2,ifupdown,isc-dhcp-client,netbase,cloud-init";
/** As QEMU's user network has it; without asking, which would only take longer. */
const NETWORK = "version: 2\nethernets:\n  eth0:\n    addresses: [10.0.2.15/24]\n    gateway4: 10.0.2.2\n";
const LIBVIRT = "/run/libvirt/libvirt-sock";

export async function benchBoot(): Promise<void> {
  if (!Bun.which("virsh")) throw new Error("There is no libvirt to compare with: apt-get install libvirt-daemon-system libvirt-clients");
  const dir = mkdtempSync(`${tmpdir()}/hl-boot-`);
  await sh(["chmod", "711", dir]);
  const daemon = Bun.spawn(["libvirtd"], { stdout: "ignore", stderr: "ignore" });
  const n = await startNode("boot", [], { built: true });
  try {
    while (
      !(await Bun.file(LIBVIRT)
        .stat()
        .catch(() => null))
    )
      await Bun.sleep(100);
    await makeDisk(dir);
    await n.ok(n.vps("template", "build", "debian:12"));
    const [up, ours, libvirt]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      const from = performance.now();
      await n.ok(n.vps("up", "server"));
      up.push(performance.now() - from);
      await n.ok(n.vps("ssh", "server", "--", "true"));
      ours.push(performance.now() - from);
      await n.ok(n.vps("destroy", "server", "--yes"));
      libvirt.push(await ofLibvirt(dir));
    }
    report([
      { name: "vps up debian:12, whole command, SSH listens", value: median(up) / 1000, unit: "s" },
      { name: "vps up, then vps ssh NAME -- true, until it has answered", value: median(ours) / 1000, unit: "s" },
      { name: "virsh create and cloud-init, until ssh has answered", value: median(libvirt) / 1000, unit: "s" },
      { name: "virsh create / vps up", value: median(libvirt) / median(ours), unit: "", goal: { at: "least", value: 20 } },
    ]);
  } finally {
    await n.close();
    daemon.kill();
    await daemon.exited;
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A Debian with cloud-init and what that is to do, as a cloud's image would have it. */
async function makeDisk(dir: string): Promise<void> {
  const root = `${dir}/root`;
  await sh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${dir}/key`]);
  await sh(["mmdebstrap", "--variant=minbase", `--include=${PACKAGES}`, "bookworm", root]);
  const seed = `${root}/var/lib/cloud/seed/nocloud`;
  mkdirSync(seed, { recursive: true });
  writeFileSync(`${seed}/meta-data`, "instance-id: i-bench\nlocal-hostname: bench\n");
  const key = readFileSync(`${dir}/key.pub`, "utf8").trim();
  writeFileSync(`${seed}/user-data`, `#cloud-config\ndisable_root: false\nssh_authorized_keys:\n  - ${key}\n`);
  writeFileSync(`${seed}/network-config`, NETWORK);
  writeFileSync(`${root}/etc/cloud/cloud.cfg.d/99-bench.cfg`, "datasource_list: [NoCloud]\n");
  // ifupdown sets the network up, so nobody waits for the other one.
  await sh(["chroot", root, "systemctl", "mask", "systemd-networkd.service", "systemd-networkd-wait-online.service"]);
  for (const gone of ["etc/machine-id", "etc/hostname"]) rmSync(`${root}/${gone}`, { force: true });
  await sh(["truncate", "-s", "4G", `${dir}/disk.raw`]);
  await sh(["mkfs.ext4", "-q", "-F", "-d", root, `${dir}/disk.raw`]);
  rmSync(root, { recursive: true });
}

/** ms. The copy of its disk is not part of it. */
async function ofLibvirt(dir: string): Promise<number> {
  cpSync(`${dir}/disk.raw`, `${dir}/machine.raw`);
  writeFileSync(`${dir}/domain.xml`, domain(dir));
  const from = performance.now();
  await sh(["virsh", "create", `${dir}/domain.xml`]);
  try {
    const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=20", "LogLevel=ERROR"];
    const ssh = ["ssh", ...options.flatMap((o) => ["-o", o]), "-i", `${dir}/key`, "-p", PORT, "root@127.0.0.1", "true"];
    while ((await Bun.$`${ssh}`.quiet().nothrow()).exitCode !== 0) {
      if (performance.now() - from > LIMIT_MS)
        throw new Error(`It did not come up: ${readFileSync(`${dir}/console.log`, "utf8").slice(-2000)}`);
      await Bun.sleep(100);
    }
    return performance.now() - from;
  } finally {
    await sh(["virsh", "destroy", "bench-boot"]);
  }
}

function domain(dir: string): string {
  const args = ["-netdev", `user,id=net,hostfwd=tcp:127.0.0.1:${PORT}-:22`, "-device", "virtio-net-pci,netdev=net,addr=0x10"];
  return `<domain type="qemu" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><name>bench-boot</name>
<memory unit="MiB">512</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>${ROOT}/build/guest/vmlinux</kernel>
<cmdline>${kernelCommandLine({ tscKhz: 0 })} root=/dev/vda rw init=/sbin/init</cmdline></os>
<features><acpi/></features><cpu mode="maximum"/><on_poweroff>destroy</on_poweroff><seclabel type="none"/>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="${dir}/machine.raw"/><target dev="vda" bus="virtio"/></disk>
<serial type="file"><source path="${dir}/console.log"/></serial><rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
</devices><qemu:commandline>${args.map((a) => `<qemu:arg value="${a}"/>`).join("")}</qemu:commandline></domain>`;
}
