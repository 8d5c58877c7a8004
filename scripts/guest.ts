/**
 * build/guest: what machines are made of.
 *   vmlinux          Debian's cloud kernel, unpacked: an uncompressed PVH kernel starts a second sooner
 *   initramfs        init and the few modules it needs
 *   discard.so       runtimes/qemu/discard.c
 *   debian-12.tar    the default image, an OCI archive, from Debian's packages through the host's own mirrors
 * Each is made once; remove it to have it made anew.
 */
import {
  chmodSync,
  copyFileSync,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { pack } from "tar-stream";
import { MEDIA } from "#contract/oci/manifest.ts";
import { ROOT, sh, step } from "./sh.ts";

export const OUT = `${ROOT}/build/guest`;
export const WORK = `${ROOT}/build/work`;
/** In the order init loads them: each after those it needs. */
const MODULES = [
  "virtio_ring",
  "virtio",
  "virtio_mmio",
  "virtio_blk",
  "virtio_console",
  "rng-core",
  "virtio-rng",
  "virtio_balloon",
  "failover",
  "net_failover",
  "virtio_net",
  "libcrc32c",
  "erofs",
  "overlay",
  "button",
];
/** Loaded only by machines that have a folder of the host. */
const FOLDER_MODULES = ["fuse", "virtiofs"];

/** Only by machines of VMMs without virtio-serial, whose buses may be PCI. */
const VSOCK_MODULES = [
  "virtio_pci_modern_dev",
  "virtio_pci_legacy_dev",
  "virtio_pci",
  "vsock",
  "vmw_vsock_virtio_transport_common",
  "vmw_vsock_virtio_transport",
];

export async function buildGuest(): Promise<void> {
  mkdirSync(OUT, { recursive: true });
  mkdirSync(WORK, { recursive: true });
  await step("guest init", async () => void (await sh(["make", "-s", "-C", "guest", "OUT=../build/guest", "check"])));
  if (!existsSync(`${OUT}/vmlinux`) || !existsSync(`${WORK}/kernel/lib`)) await step("kernel", kernel);
  await step("initramfs", initramfs);
  const shared = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-s"];
  await step("what QEMU lacks", async () => void (await sh([...shared, "-o", `${OUT}/discard.so`, `${ROOT}/runtimes/qemu/discard.c`])));
  const small = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-s"];
  await step("what other VMMs lack", async () => void (await sh([...small, "-o", `${OUT}/relay`, `${ROOT}/runtimes/relay.c`])));
  if (!existsSync(`${OUT}/debian-12.tar`)) await step("image debian:12", image);
}

async function kernel(): Promise<void> {
  const depends = await sh(["apt-cache", "depends", "linux-image-cloud-amd64"]);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!name) throw new Error("Debian's archive has no linux-image-cloud-amd64: run apt-get update.");
  const dir = `${WORK}/kernel`;
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  await sh(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name], { cwd: dir });
  const deb = readdirSync(dir).find((f) => f.endsWith(".deb"))!;
  await sh(["dpkg", "-x", deb, "."], { cwd: dir });
  const vmlinuz = readdirSync(`${dir}/boot`).find((f) => f.startsWith("vmlinuz"))!;
  await unpackKernel(`${dir}/boot/${vmlinuz}`, `${OUT}/vmlinux`);
}

/** A bzImage's payload, found by its setup header (Documentation/arch/x86/boot.rst): payload_offset at 0x248, payload_length at 0x24c. */
async function unpackKernel(from: string, to: string): Promise<void> {
  const image = readFileSync(from);
  const start = (image[0x1f1]! + 1) * 512 + image.readUInt32LE(0x248);
  // The payload's last four bytes are the unpacked size, which is not part of the stream.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const packers: Record<string, string[]> = {
    "02214c18": ["lz4", "-dqf"],
    "28b52ffd": ["zstd", "-dqf"],
    fd377a58: ["xz", "-dc"],
    "1f8b0800": ["gzip", "-dc"],
  };
  const packer = packers[payload.subarray(0, 4).toString("hex")];
  if (!packer) throw new Error(`The kernel's compression is not known: it begins with ${payload.subarray(0, 4).toString("hex")}.`);
  writeFileSync(`${WORK}/payload`, payload);
  const child = Bun.spawn([...packer, ...(packer[1]!.includes("c") ? [`${WORK}/payload`] : [`${WORK}/payload`, `${to}.new`])], {
    stdout: packer[1]!.includes("c") ? Bun.file(`${to}.new`) : "ignore",
    stderr: "pipe",
  });
  if ((await child.exited) !== 0 || readFileSync(`${to}.new`).readUInt32BE(0) !== 0x7f454c46)
    throw new Error("The kernel could not be unpacked.");
  renameSync(`${to}.new`, to);
}

export async function initramfs(): Promise<void> {
  const root = `${WORK}/initramfs`;
  rmSync(root, { recursive: true, force: true });
  for (const dir of ["dev", "proc", "sys", "image", "rw", "root", "lib"]) mkdirSync(`${root}/${dir}`, { recursive: true });
  copyFileSync(`${OUT}/init`, `${root}/init`);
  chmodSync(`${root}/init`, 0o755);
  const found = new Map(
    (await sh(["find", `${WORK}/kernel/lib`, "-name", "*.ko"]))
      .trim()
      .split("\n")
      .map((p) => [basename(p, ".ko"), p]),
  );
  for (const [list, modules] of Object.entries({ modules: MODULES, "modules-folders": FOLDER_MODULES, "modules-vsock": VSOCK_MODULES })) {
    const listed: string[] = [];
    for (const module of modules) {
      const path = found.get(module);
      if (!path) continue; // built into this kernel
      await sh(["strip", "-g", "-o", `${root}/lib/${module}.ko`, path]);
      listed.push(`/lib/${module}.ko`);
    }
    writeFileSync(`${root}/${list}`, `${listed.join("\n")}\n`);
  }
  const files = (await sh(["find", ".", "-mindepth", "1"], { cwd: root })).split("\n").sort().join("\n");
  const child = Bun.spawn(["cpio", "-o", "-H", "newc", "--quiet", "--owner=0:0"], {
    cwd: root,
    stdin: Buffer.from(files.trim()),
    stdout: Bun.file(`${OUT}/initramfs.new`),
    stderr: "ignore",
  });
  if ((await child.exited) !== 0) throw new Error("cpio failed.");
  renameSync(`${OUT}/initramfs.new`, `${OUT}/initramfs`);
}

const PACKAGES = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "udev",
  "openssh-server",
  "iproute2",
  "iputils-ping",
  "ca-certificates",
  "curl",
  "rsync",
  "less",
  "nano",
  "procps",
  "kmod",
  "libpam-systemd",
  "netbase",
];
/** Host files that name the mirrors; those of other vendors are left out. */
const SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];

async function image(): Promise<void> {
  const root = `${WORK}/debian-12`;
  rmSync(root, { recursive: true, force: true });
  const sources = SOURCES.find((f) => existsSync(f) && /\bdeb\b/.test(readFileSync(f, "utf8")));
  if (!sources) throw new Error("No Debian mirror is configured on this host (/etc/apt/sources.list).");
  await sh(["mmdebstrap", "--variant=minbase", `--include=${PACKAGES.join(",")}`, "bookworm", root, sources]);
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(`${root}${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    writeFileSync(`${root}${path}`, text);
  }
  for (const gone of ["/etc/hostname", "/var/lib/dbus/machine-id"]) rmSync(`${root}${gone}`, { force: true });
  for (const key of readdirSync(`${root}/etc/ssh`)) if (key.startsWith("ssh_host_")) rmSync(`${root}/etc/ssh/${key}`);
  const systemctl = (verb: string, ...units: string[]) => sh(["chroot", root, "systemctl", verb, ...units]);
  await systemctl(
    "disable",
    "ssh.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "remote-fs.target",
    "systemd-pstore.service",
  );
  await systemctl("enable", "ssh.socket", "hyperlane-ready.service");
  await systemctl("mask", ...MASKED);
  for (const dir of ["doc", "man", "info", "locale"])
    for (const f of readdirSync(`${root}/usr/share/${dir}`)) rmSync(`${root}/usr/share/${dir}/${f}`, { recursive: true });
  await sh(["find", `${root}/var/lib/apt/lists`, `${root}/var/cache/apt`, "-type", "f", "-delete"]);
  await sh([
    "tar",
    "--format=pax",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--sort=name",
    "-cf",
    `${WORK}/layer.tar`,
    "-C",
    root,
    ".",
  ]);
  await writeImage(`${WORK}/layer.tar`, `${OUT}/debian-12.tar`, "debian:12", {
    Cmd: ["/sbin/init"],
    Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    StopSignal: "SIGRTMIN+3",
  });
  rmSync(`${WORK}/layer.tar`);
  rmSync(root, { recursive: true, force: true });
}

/** One layer as an OCI image archive. The index comes first, so that what the archive holds is known after a few bytes. */
async function writeImage(layer: string, to: string, name: string, config: object): Promise<void> {
  const packed = `${layer}.gz`;
  const [unpackedHash, packedHash] = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")];
  const source = createReadStream(layer, { highWaterMark: 1 << 20 }).on("data", (b) => void unpackedHash.update(b));
  const gzip = createGzip({ level: 4 }).on("data", (b) => void packedHash.update(b));
  await pipeline(source, gzip, createWriteStream(packed));
  const out = pack();
  const blobs = new Map<string, Buffer>();
  const blob = (mediaType: string, value: object) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const diff = `sha256:${unpackedHash.digest("hex")}`;
  const created = new Date().toISOString();
  const history = [{ created, created_by: "scripts/guest.ts" }];
  const configuration = blob(MEDIA.config, {
    created,
    architecture: "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [diff] },
    history,
  });
  const { size } = statSync(packed);
  const digest = `sha256:${packedHash.digest("hex")}`;
  const layers = [{ mediaType: MEDIA.layerGzip, digest, size }];
  const manifest = blob(MEDIA.manifest, { schemaVersion: 2, mediaType: MEDIA.manifest, config: configuration, layers });
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations: { "org.opencontainers.image.ref.name": name } }] };
  const written = pipeline(out, createWriteStream(`${to}.new`));
  out.entry({ name: "index.json" }, JSON.stringify(index));
  out.entry({ name: "oci-layout" }, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  for (const [d, bytes] of blobs) out.entry({ name: `blobs/sha256/${d.slice(7)}` }, bytes);
  await pipeline(createReadStream(packed, { highWaterMark: 1 << 20 }), out.entry({ name: `blobs/sha256/${digest.slice(7)}`, size }));
  out.finalize();
  await written;
  rmSync(packed);
  renameSync(`${to}.new`, to);
}

/** Units that have nothing to do in a machine of ours, and cost start-up time. */
const MASKED = [
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "dev-mqueue.mount",
  "dev-hugepages.mount",
  "systemd-rfkill.socket",
  "kmod-static-nodes.service",
  "systemd-machine-id-commit.service",
  "systemd-firstboot.service",
  // The console is a log, nobody types there.
  "getty@tty1.service",
  "console-getty.service",
  "serial-getty@ttyS0.service",
  "systemd-update-utmp.service",
  "systemd-update-utmp-runlevel.service",
  "systemd-pcrphase.service",
  "systemd-pcrphase-sysinit.service",
];

const FILES: Record<string, string> = {
  "/etc/machine-id": "",
  "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
  "/etc/environment": "",
  // Whoever is first to log in need not wait for root's own services to be started: a template has them.
  "/var/lib/systemd/linger/root": "",
  "/etc/default/locale": "LANG=C.UTF-8\n",
  // What a machine has are disks, cards and ports; events for the hundreds of other devices only cost time.
  "/etc/systemd/system/systemd-udev-trigger.service.d/hyperlane.conf": `[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=input --subsystem-match=tty --subsystem-match=misc --subsystem-match=rtc --subsystem-match=virtio-ports
`,
  "/etc/ssh/sshd_config.d/hyperlane.conf": `# Certificates only. init puts these files here at each boot; they are never on a disk.
TrustedUserCAKeys /run/hyperlane/ssh_user_ca.pub
AuthorizedPrincipalsFile /run/hyperlane/ssh_principals
HostKey /run/hyperlane/ssh_host_key
HostCertificate /run/hyperlane/ssh_host_key-cert.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
`,
  // Without the usual dependencies: ssh listens as soon as systemd runs, long before the rest is up.
  "/etc/systemd/system/ssh.socket": `[Unit]
Description=SSH
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Socket]
ListenStream=22
Accept=yes

[Install]
WantedBy=sysinit.target
`,
  "/etc/systemd/system/ssh@.service": `[Unit]
Description=SSH connection
DefaultDependencies=no

[Service]
ExecStart=-/usr/sbin/sshd -i
StandardInput=socket
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
KillMode=process
`,
  "/etc/systemd/system/hyperlane-ready.service": `[Unit]
Description=Tell the host that SSH listens
DefaultDependencies=no
After=ssh.socket
Requires=ssh.socket

[Service]
Type=oneshot
ExecStart=/usr/bin/touch /run/hyperlane/ready
RemainAfterExit=yes

[Install]
WantedBy=sysinit.target
`,
  "/etc/systemd/journald.conf.d/hyperlane.conf": "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/hvc0\nMaxLevelConsole=info\n",
};
