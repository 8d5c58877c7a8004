/**
 * From nothing to a machine on which SSH listens: `vps up`, beside libvirt's `virsh create` of the same kernel,
 * initramfs, image and an already formatted disk, on its usual machine type. Both are told ready by the same init over
 * the same channel. Needs root, a running hyperlane and libvirtd; machines are made and removed in turn.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { openGuest } from "#agent/guest/link.ts";
import type { Desired } from "#contract/wire/agent.ts";
import { guestConfig } from "#agent/guest/identity.ts";
import { createSshCa, generateSshCaKeys } from "#control/auth/ssh.ts";
import { MachineSpec } from "#contract/resources/machine.ts";
import { stateDir } from "#host/place.ts";
import { kernelCommandLine } from "#runtimes/qemu/command.ts";
import { ROOT, sh } from "#scripts/sh.ts";
import { median, report } from "./report.ts";

const ROUNDS = 5;
const vps = `${ROOT}/build/vps`;
const guest = `${ROOT}/build/guest`;

export async function benchBoot(): Promise<void> {
  if (!Bun.which("virsh")) throw new Error("There is no libvirt to compare with: apt-get install libvirt-daemon-system libvirt-clients");
  const dir = mkdtempSync(`${tmpdir()}/hl-boot-`);
  try {
    const kvm = (await sh([vps, "node", "list"])).includes(" kvm ");
    const [ours, libvirt]: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await ofOurs());
      libvirt.push(await ofLibvirt(dir, kvm, await nodeImage()));
    }
    report([
      { name: "vps up, whole command, until SSH listens", value: median(ours) / 1000, unit: "s", note: kvm ? "KVM" : "software emulation" },
      { name: "virsh create of the same, until SSH listens", value: median(libvirt) / 1000, unit: "s" },
      { name: "vps up / virsh create", value: median(ours) / median(libvirt), unit: "", goal: { at: "most", value: 1 } },
    ]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The file system that the node has made of the default image, by the time a machine of it has run. */
async function nodeImage(): Promise<string> {
  const { rootfs } = JSON.parse(await sh([vps, "image", "inspect", "debian:12"])) as { rootfs: string };
  return `${stateDir()}/images/${rootfs}.erofs`;
}

/** ms. Removing the machine again is not part of it. */
async function ofOurs(): Promise<number> {
  const from = performance.now();
  await sh([vps, "up", "bench-boot"]);
  const took = performance.now() - from;
  await sh([vps, "destroy", "bench-boot", "--yes"]);
  return took;
}

const identity = createSshCa(generateSshCaKeys(), Date.now).hostIdentity({ id: "m-bench", name: "bench-boot" });

async function ofLibvirt(dir: string, kvm: boolean, image: string): Promise<number> {
  const socket = `${dir}/guest.sock`;
  const xml = domain(dir, socket, kvm, image);
  writeFileSync(`${dir}/domain.xml`, xml);
  await sh(["truncate", "-s", "10G", `${dir}/disk.raw`]);
  await sh(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", `${dir}/disk.raw`]);
  const from = performance.now();
  await sh(["virsh", "create", `${dir}/domain.xml`]);
  const { promise, resolve } = Promise.withResolvers<void>();
  const desired = {
    name: "bench-boot",
    id: "m-bench",
    slot: 50_000,
    spec: MachineSpec.parse({}),
    workload: { kind: "system" as const, init: "/sbin/init" },
    mounts: [],
  } satisfies Partial<Desired> as unknown as Desired;
  const network = { bridge: "hyperlane0", subnet4: "10.77.0.0/16", prefix6: "fd00:1:2:3", uplink: null };
  const link = openGuest(socket, {
    config: () => guestConfig({ desired, copied: false }, identity, network, []),
    workload: () => null,
    networked: () => Promise.resolve(),
    onUp: resolve,
    onRefused: (error) => void process.stderr.write(`${error.message}\n`),
    log: (line) => void process.stderr.write(`${line}\n`),
  });
  await promise;
  const took = performance.now() - from;
  link.close();
  await sh(["virsh", "destroy", "bench-boot"]);
  return took;
}

function domain(dir: string, socket: string, kvm: boolean, image: string): string {
  return `<domain type="${kvm ? "kvm" : "qemu"}"><name>bench-boot</name><memory unit="MiB">512</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>${guest}/vmlinux</kernel><initrd>${guest}/initramfs</initrd><cmdline>${kernelCommandLine({ tscKhz: 0 })}</cmdline></os>
<features><acpi/></features><cpu mode="${kvm ? "host-passthrough" : "maximum"}"/><on_poweroff>destroy</on_poweroff>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="${image}"/><target dev="vda" bus="virtio"/><readonly/></disk>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="${dir}/disk.raw"/><target dev="vdb" bus="virtio"/></disk>
<interface type="bridge"><source bridge="hyperlane0"/><model type="virtio"/></interface>
<channel type="unix"><source mode="bind" path="${socket}"/><target type="virtio" name="hyperlane.0"/></channel>
<serial type="file"><source path="${dir}/console.log"/></serial><rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
</devices></domain>`;
}
