/** Machines that boot a kernel of the user's, with a disk of the user's: files of their node, on every VMM, and in Hyperfleet's words. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { compileStandIns, RUNTIMES } from "#tests/runtimes/programs.ts";
import { NO_BUSYBOX } from "./image.ts";
import { ROOT, startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/kernels: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
const dir = mkdtempSync(`${tmpdir()}/hl-kernels-e2e-`);
const files = `${dir}/files`;
const [kernel, initramfs, disk] = [`${files}/vmlinux`, `${files}/initramfs`, `${files}/root.ext4`];
let n: TestNode;

/** What a distribution's initramfs does: what the kernel needs for its root, and then that. */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc
while read m; do $b insmod $m; done < /modules
$b mkdir -p /root; $b mount -t ext4 /dev/vda /root
$b mount --move /dev /root/dev; $b mount --move /proc /root/proc
exec $b switch_root /root /sbin/init
`;
/** The system on that disk. It counts its boots there, and gives itself the address that the kernel was told. */
const SYSTEM = `#!/bin/sh
echo boot >> /boots
for word in $(cat /proc/cmdline); do case $word in ip=*) ip=\${word#ip=};; esac; done
IFS=: read address _ gateway mask name _ <<X
$ip
X
ifconfig eth0 $address netmask $mask up; route add default gw $gateway
mkdir -p /www; (echo $name; wc -l < /boots; cat /proc/cmdline) > /www/index.html
echo "up: $name, boot $(wc -l < /boots)"
sync
httpd -p 80 -h /www
while :; do sleep 1; done
`;

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  chmodSync(dir, 0o755);
  for (const made of ["early/bin", "root/bin", "root/sbin", "root/dev", "root/proc", "root/etc"])
    mkdirSync(`${dir}/${made}`, { recursive: true });
  mkdirSync(files);
  for (const root of ["early", "root"]) cpSync("/bin/busybox", `${dir}/${root}/bin/busybox`);
  writeFileSync(`${dir}/early/init`, INIT, { mode: 0o755 });
  writeFileSync(`${dir}/root/sbin/init`, SYSTEM, { mode: 0o755 });
  const sh = (line: string) => Bun.$`sh -ec ${line}`.quiet();
  await sh(`cd ${dir}/root/bin; for a in $(./busybox --list); do [ $a = busybox ] || ln -s busybox $a; done`);
  await sh(`truncate -s 24M ${disk}; mkfs.ext4 -q -F -d ${dir}/root ${disk}`);
  // What comes later in an initramfs replaces what came before: the modules are those of our own.
  await sh(
    `cd ${dir}/early; find . | cpio -o -H newc --quiet > ${dir}/early.cpio; cat ${ROOT}/build/guest/initramfs ${dir}/early.cpio > ${initramfs}`,
  );
  cpSync(`${ROOT}/build/guest/vmlinux`, kernel);
  n = await startNode("kernels", ["--allow-folder", files, ...(await compileStandIns(dir))]);
  await n.until(
    async () => JSON.parse(await n.ok(n.vps("runtime", "list", "--json"))) as { name: string; nodes: string[] }[],
    (all) => RUNTIMES.every((r) => all.find(({ name }) => name === r)!.nodes.length === 1),
  );
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

/** What it says at its own address. */
const page = async (name: string): Promise<string[]> => {
  const { address4 } = (await n.machine(name)).observed!;
  const ask = () => n.sh(["curl", "-s", "-m", "2", `http://${address4}/`]);
  return (await n.until(ask, ({ code }) => code === 0)).out.trim().split("\n");
};

for (const runtime of ["qemu", ...RUNTIMES])
  it(`${runtime}: it boots, has its address and its disk; it is snapshotted, stopped and started anew`, async () => {
    const own = ["--runtime", runtime, "--kernel", kernel, "--initramfs", initramfs, "--kernel-args", "word=mine", "--image", disk];
    expect(await n.ok(n.vps("up", "own", "--ram", "192M", "--disk", "300M", ...own))).toContain("Console: vps logs -f own");
    const [name, boots, line] = await page("own");
    expect([name, boots]).toEqual(["own", "1"]);
    expect(line).toMatch(/^console=ttyS0 root=\/dev\/vda rw .* word=mine$/);
    expect(await n.ok(n.vps("logs", "own"))).toContain("up: own, boot 1");
    expect(await n.machine("own")).toMatchObject({ state: "running", image: null, spec: { image: disk, kernel: { path: kernel } } });
    await n.ok(n.vps("snapshot", "own", "once"));
    // An agent that comes after finds it again.
    const { observed } = await n.machine("own");
    await n.kill("agent");
    await n.until(
      () => n.machine("own"),
      (m) => m.state === "running" && m.observed!.revision >= m.revision,
    );
    expect((await n.machine("own")).observed!.pid).toBe(observed!.pid);
    await n.ok(n.vps("stop", "own"));
    await n.ok(n.vps("snapshot", "restore", "own", "once"));
    await n.ok(n.vps("start", "own"));
    expect((await page("own"))[1]).toBe("2");
    await n.ok(n.vps("snapshot", "rm", "own", "once"));
    await n.ok(n.vps("destroy", "-y", "own"));
    // The file that it was made from is as it was.
    expect(statSync(disk).size).toBe(24 * 2 ** 20);
  }, 120_000);

it("what only our init could do is refused, with the reason; so is what is not to be had", async () => {
  const own = ["--kernel", kernel, "--initramfs", initramfs, "--image", disk, "--ram", "192M"];
  await n.ok(n.vps("up", "own", "--disk", "300M", ...own));
  for (const words of [
    ["exec", "own", "--", "true"],
    ["cp", "own:/etc/hosts", `${dir}/x`],
    ["standby", "own"],
    ["migrate", "own"],
    ["ssh", "own", "--", "true"],
    ["snapshot", "--memory", "own", "s"],
    ["commit", "own", "new:1"],
    ["stats", "own", "--no-stream"],
  ]) {
    const ran = await n.vps(...words);
    expect([words[0], ran.code !== 0, ran.err]).toEqual([words[0]!, true, expect.stringContaining("boots a kernel of its own")]);
  }
  await n.ok(n.vps("destroy", "-y", "own"));
  for (const [words, why] of [
    [["--kernel", kernel], "boots a disk of its node"],
    [["--image", disk], "none is named"],
    [[...own, "--runtime", "docker"], "A machine on docker"],
    [[...own, "-e", "A=b"], "give it an environment"],
    [["--kernel", "/etc/hostname", "--image", disk], "No node lets machines have /etc/hostname"],
    [["--initramfs", initramfs, "--image", disk], "none is named"],
  ] as const) {
    const ran = await n.vps("up", "no", "--disk", "300M", ...words);
    expect([why, ran.code !== 0, ran.err]).toEqual([why, true, expect.stringContaining(why)]);
  }
}, 60_000);

it("in Hyperfleet's words: kernel_image_path and rootfs_path", async () => {
  const { token } = JSON.parse(await Bun.file(`${n.home}/.config/hyperlane/config.json`).text()) as { token: string };
  const curl = async (method: string, path: string, body?: object) => {
    const more = body === undefined ? [] : ["-H", "Content-Type: application/json", "-d", JSON.stringify(body)];
    const argv = ["curl", "-s", "-w", "\n%{http_code}", "-H", `Authorization: Bearer ${token}`, "-X", method, ...more];
    const out = (await n.ok(n.sh([...argv, `http://127.0.0.1:7420${path}`]))).split("\n");
    const status = Number(out.pop());
    return { status, body: out.join("") === "" ? null : (JSON.parse(out.join("\n")) as Record<string, unknown>) };
  };
  const asked = { vcpu_count: 1, mem_size_mib: 192, kernel_image_path: kernel, rootfs_path: disk, kernel_args: "panic=0 word=theirs" };
  for (const runtime_type of RUNTIMES) {
    const made = await curl("POST", "/machines", { name: `my-${runtime_type}`, runtime_type, ...asked });
    expect(made).toMatchObject({ status: 201, body: { runtime_type, status: "pending", image: null, ...asked } });
    const at = `/api/v1/machines/${String(made.body!.id)}`;
    expect(await curl("POST", `${at}/start`)).toMatchObject({ status: 200, body: { status: "running" } });
    // Whatever it makes of a disk whose driver it may lack: this is what it was told.
    await n.until(
      () => n.vps("logs", `my-${runtime_type}`),
      ({ out }) => /Command line: console=ttyS0 root=\/dev\/vda rw .* word=theirs/.test(out),
    );
    expect(await curl("POST", `${at}/exec`, { cmd: ["true"] })).toMatchObject({ status: 409, body: { error: "ConflictError" } });
    expect((await curl("DELETE", at)).status).toBe(204);
  }
  for (const [more, status] of [
    [{ rootfs_path: undefined }, 400],
    [{ kernel_image_path: undefined }, 400],
    [{ image: "debian:12" }, 409],
  ] as const)
    expect((await curl("POST", "/machines", { name: "x", runtime_type: "firecracker", ...asked, ...more })).status).toBe(status);
}, 120_000);
