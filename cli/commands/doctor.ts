import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { toHyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";

type Check = { name: string; status: "PASSED" | "WARN" | "FAILED"; detail: string; remedy: string | null };
const TOOLS: Record<string, string> = {
  "qemu-system-x86_64": "qemu-system-x86",
  nft: "nftables",
  ip: "iproute2",
  setpriv: "util-linux",
  "mkfs.ext4": "e2fsprogs",
  ssh: "openssh-client",
};
const LOW_DISK_GIB = 5;

export const doctor: Command = {
  name: "doctor",
  usage: "vps doctor",
  summary: "Check this host and the connection, and say what to do about each finding",
  examples: ["vps doctor", "vps doctor --json"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run(ctx) {
    const checks = [...hostChecks(), ...(await controlChecks(ctx))];
    const { out } = ctx;
    out.data(checks);
    const color = { PASSED: "green", WARN: "yellow", FAILED: "red" } as const;
    for (const c of checks) {
      out.line(`${out.color(color[c.status], c.status.padEnd(6))}  ${c.name}: ${c.detail}`);
      if (c.remedy) out.line(`        → ${c.remedy}`);
    }
    return checks.some((c) => c.status === "FAILED") ? 1 : 0;
  },
};

function check(name: string, ok: boolean, detail: string, remedy: string, otherwise: "WARN" | "FAILED" = "FAILED"): Check {
  return { name, status: ok ? "PASSED" : otherwise, detail, remedy: ok ? null : remedy };
}

function hostChecks(): Check[] {
  const missing = Object.keys(TOOLS).filter((t) => !Bun.which(t, { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }));
  const disk = statfsSync(existsSync("/var/lib/hyperlane") ? "/var/lib/hyperlane" : "/");
  const freeGib = Math.floor((disk.bavail * disk.bsize) / 2 ** 30);
  const filesystems = readFileSync("/proc/filesystems", "utf8");
  const cgroup = existsSync("/sys/fs/cgroup/cgroup.controllers") ? "cgroup v2" : existsSync("/sys/fs/cgroup/memory") ? "cgroup v1" : null;
  return [
    check(
      "Tools",
      missing.length === 0,
      missing.length ? `missing: ${missing.join(", ")}` : "all there",
      `apt-get install ${[...new Set(missing.map((t) => TOOLS[t]))].join(" ")}`,
    ),
    check(
      "TUN/TAP",
      canUse("/dev/net/tun"),
      canUse("/dev/net/tun") ? "/dev/net/tun" : "/dev/net/tun cannot be opened",
      "modprobe tun, and run the agent as root",
    ),
    check("Limits", cgroup !== null, cgroup ?? "no control groups: machines run without limits", "Mount cgroup2 at /sys/fs/cgroup", "WARN"),
    check(
      "ZFS",
      existsSync("/dev/zfs") || Bun.which("zfs") !== null,
      Bun.which("zfs") ? "there" : "not there: disks are plain files, and a snapshot copies what is used",
      "Optional: install ZFS, and run `hyperlane init --zpool POOL`",
      "WARN",
    ),
    check(
      "Images from machines",
      /\terofs|\toverlay/.test(filesystems),
      /erofs/.test(filesystems) ? "erofs and overlay" : "erofs is not in the kernel (yet)",
      "modprobe erofs overlay loop",
      "WARN",
    ),
    check("Disk", freeGib >= LOW_DISK_GIB, `${freeGib} GiB free`, "Free some: `vps image list`, `vps snapshot list NAME`", "WARN"),
  ];
}

async function controlChecks({ client }: Context): Promise<Check[]> {
  try {
    const health = await client().health();
    const { items } = await client().listNodes();
    return [
      check("Control plane", true, `version ${health.version}`, ""),
      ...items.flatMap((n) => [
        check(
          `Node ${n.name}`,
          n.connected,
          n.connected ? "connected" : "not connected",
          "Run `hyperlane start` there; its log is in /var/log/hyperlane/agent.log",
        ),
        ...(n.status
          ? [
              check(
                "Virtualization",
                n.status.accelerator === "kvm",
                n.status.accelerator === "kvm"
                  ? `KVM: ${n.status.acceleratorReason}`
                  : `software emulation, 10 to 30 times slower: ${n.status.acceleratorReason}`,
                "Use a host with hardware virtualization, or turn on nested virtualization in its hypervisor",
                "WARN",
              ),
              check(
                "Containers",
                n.status.runtimes.includes("docker"),
                n.status.runtimes.includes("docker") ? "a Docker engine answers" : "no Docker engine answers: all machines are VMs",
                "Optional: apt-get install docker.io, or name its socket: hyperlane init --docker SOCKET",
                "WARN",
              ),
            ]
          : []),
      ]),
    ];
  } catch (thrown) {
    const e = toHyperlaneError(thrown);
    return [check("Control plane", false, e.message, e.hint)];
  }
}

function canUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
