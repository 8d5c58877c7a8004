/** Machines that go on from templates: what they share, what they must not, and what becomes of a template that is none. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync, writeSync } from "node:fs";
import type { Template } from "#contract/resources/template.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/templates: ${NO_BUSYBOX}`);
const it = test.skipIf(NO_BUSYBOX !== null);
const SIBLINGS = 50;
let n: TestNode;

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  n = await startNode("templates");
  await makeImage(n, "box:1", { Cmd: ["/bin/sh"] });
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
}, 60_000);

const templates = async (): Promise<Template[]> => JSON.parse(await n.ok(n.vps("template", "list", "--json"))) as Template[];
const home = (key: string): string => `${n.state}/templates/${key}`;
const hashOf = (path: string): string => new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
/** The shared memory that a machine maps. */
const memoryOf = (pid: number): string => `/proc/${pid}/fd/3`;

it("the first machine boots, and leaves a template for those after it, of any image", async () => {
  await n.ok(n.vps("run", "-d", "--name", "first", "--stop-timeout", "1", "box:1", "sleep", "1000"));
  expect((await n.machine("first")).observed!.origin).toBe("boot");
  const [template] = await n.until(templates, (all) => all.some((t) => t.state === "ready"));
  expect(template).toMatchObject({ rootfs: null, cpu: 1, memoryMib: 512, diskMib: null });
  await makeImage(n, "other:1", { Cmd: ["/bin/sh"] }, true);
  await n.ok(n.vps("run", "-d", "--name", "second", "--stop-timeout", "1", "other:1", "/bin/busybox", "sleep", "1000"));
  expect((await n.machine("second")).observed!.origin).toBe("template");
  // A machine that has a disk already goes on from it as well.
  await n.ok(n.vps("restart", "first"));
  expect((await n.machine("first")).observed!.origin).toBe("template");
}, 60_000);

it("nobody writes to what siblings map, not even who is let", async () => {
  const pids = await Promise.all(["first", "second"].map(async (m) => (await n.machine(m)).observed!.pid!));
  expect(pids.map((pid) => readlinkSync(memoryOf(pid)))).toEqual(Array(2).fill("/memfd:hyperlane-memory (deleted)"));
  expect(new Set(pids.map((pid) => statSync(memoryOf(pid)).ino)).size).toBe(1);
  const before = hashOf(memoryOf(pids[0]!));
  const fd = openSync(memoryOf(pids[0]!), "r+");
  expect(() => writeSync(fd, "x", 0)).toThrow("EPERM");
  closeSync(fd);
  await n.ok(n.vps("exec", "first", "--", "sh", "-c", "dd if=/dev/urandom of=/dev/shm/x bs=1M count=40 2>/dev/null; sync"));
  expect(hashOf(memoryOf(pids[1]!))).toBe(before);
  const [{ key }] = (await templates()) as [Template];
  expect(statSync(`${home(key)}/base`).mode & 0o777).toBe(0o400);
}, 60_000);

it("memory that a machine no longer uses goes back to its host, and siblings' stays as it is", async () => {
  const { pid } = (await n.machine("second")).observed! as { pid: number };
  // Its own, which is not what its siblings map too: of that its share grows when one of them goes.
  const own = (): number => Number(/^Anonymous:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))![1]) / 1024;
  const [before, shared] = [own(), hashOf(memoryOf(pid))];
  const busybox = (...args: string[]) => n.ok(n.vps("exec", "second", "--", "/bin/busybox", ...args));
  await busybox("dd", "if=/dev/urandom", "of=/dev/shm/y", "bs=1M", "count=60");
  expect(own()).toBeGreaterThan(before + 40);
  await busybox("rm", "/dev/shm/y");
  await n.until(
    async () => own(),
    // What is free in pieces of less than 2 MiB stays, and how much that is depends on where things came to lie.
    (now) => now < before + 30,
  );
  expect(hashOf(memoryOf(pid))).toBe(shared);
}, 90_000);

it("fifty siblings share nothing secret", async () => {
  const script =
    "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; cat /sys/class/net/eth0/address; hostname; cat /proc/sys/kernel/random/uuid; date +%s";
  await n.ok(n.vps("template", "build", "box:1", "--ram", "128M"));
  const from = Math.floor(Date.now() / 1000);
  const said = await Promise.all(
    Array.from({ length: SIBLINGS }, async (_, i) => {
      // A few at a time: what is tested is that they differ, not how many fit.
      await Bun.sleep(Math.floor(i / 5) * 1_000);
      return (await n.ok(n.vps("run", "--name", `sib-${i}`, "-m", "128M", "--disk", "256M", "box:1", "sh", "-c", script)))
        .trim()
        .split("\n");
    }),
  );
  for (const [i, what] of ["boot id", "random bytes", "MAC", "host name", "random UUID"].entries())
    expect([what, new Set(said.map((s) => s[i])).size]).toEqual([what, SIBLINGS]);
  for (const s of said) expect(Number(s[5]) - from).toBeWithin(-2, 120);
  const origins = await Promise.all(said.map(async (_, i) => (await n.machine(`sib-${i}`)).observed!.origin));
  for (const origin of origins) expect(["template", "spare"]).toContain(origin!);
  await Promise.all(said.map((_, i) => n.ok(n.vps("destroy", `sib-${i}`, "--yes"))));
}, 180_000);

it("a whole system goes on from where it had come up, as somebody else", async () => {
  const built = await n.ok(n.vps("template", "build", "debian:12"));
  expect(built).toMatch(/^✔ Template [a-f0-9]{12} on \S+: debian:12, 1 CPU, 512M RAM\n$/);
  const look =
    "cat /etc/machine-id /proc/sys/kernel/random/boot_id /run/hyperlane/ssh_host_key-cert.pub; hostname; head -c 16 /dev/urandom | od -An -tx1; date +%s";
  const seen: string[][] = [];
  for (const name of ["sys-1", "sys-2"]) {
    await n.ok(n.vps("up", name));
    const { observed } = await n.machine(name);
    expect(observed!.origin).toBe("template");
    seen.push((await n.ok(n.vps("ssh", name, "--", look))).trim().split("\n"));
    expect(seen.at(-1)![3]).toBe(name);
    expect(Math.abs(Number(seen.at(-1)![5]) - Date.now() / 1000)).toBeLessThan(5);
  }
  for (const i of [0, 1, 2, 4]) expect(seen[0]![i]).not.toBe(seen[1]![i]);
  expect(seen[0]![0]).toMatch(/^[a-f0-9]{32}$/);
  // Its journal is filed under the new ids.
  expect(await n.ok(n.vps("exec", "sys-1", "--", "sh", "-c", "journalctl -b -q | grep -c 'Accepted publickey'"))).toBe("1\n");
  // Rebooted, it boots.
  const before = seen[0]![1];
  await n.vps("exec", "sys-1", "--", "reboot");
  const bootId = async (): Promise<string> => (await n.vps("exec", "sys-1", "--", "cat", "/proc/sys/kernel/random/boot_id")).out.trim();
  await n.until(bootId, (id) => id !== "" && id !== before);
  await n.ok(n.vps("destroy", "sys-1", "--yes"));
}, 180_000);

it("a damaged template is noticed: the machine boots, and the template is made anew", async () => {
  const damage = async (file: string, at: number): Promise<string> => {
    const { key } = (await templates()).find((t) => t.rootfs === null && t.memoryMib === 512 && t.state === "ready")!;
    const bytes = readFileSync(`${home(key)}/${file}`);
    bytes[at]! ^= 0x55;
    writeFileSync(`${home(key)}/.damaged`, bytes);
    await Bun.$`mv ${home(key)}/.damaged ${home(key)}/${file}`.quiet();
    return key;
  };
  for (const [file, at] of [
    ["base", 200_000],
    ["devices", 3_000],
  ] as const) {
    const key = await damage(file, at);
    const inode = statSync(`${home(key)}/${file}`).ino;
    expect(await n.ok(n.vps("run", "--rm", "box:1", "echo", "all the same"))).toBe("all the same\n");
    await n.ok(n.vps("template", "build", "box:1"));
    await n.until(
      templates,
      (all) => all.some((t) => t.key === key && t.state === "ready") && statSync(`${home(key)}/${file}`).ino !== inode,
    );
  }
}, 120_000);

it("an agent that is killed while it makes one leaves nothing of it, and makes it later", async () => {
  await n.ok(n.vps("template", "prune", "--yes"));
  expect(readdirSync(`${n.state}/templates`)).toEqual([]);
  const asked = n.vps("template", "build", "debian:12");
  await n.until(async () => readdirSync(`${n.state}/templates`).some((name) => name.endsWith(".new")), Boolean);
  await n.kill("agent");
  expect((await asked).code).not.toBe(0);
  await n.until(async () => (await n.vps("node", "list", "--json")).out.includes('"connected": true'), Boolean);
  await n.until(
    async () => readdirSync(`${n.state}/templates`).length,
    (count) => count === 0,
  );
  await n.ok(n.vps("template", "build", "debian:12"));
  expect((await templates()).map((t) => t.state)).toEqual(["ready", "ready"]);
  // What runs is left alone, and what nobody asked for is gone.
  expect((await n.machine("second")).state).toBe("running");
  expect((await n.sh(["pgrep", "-fc", `${n.state}/templates`])).out.trim()).toBe("0");
}, 120_000);

it("an image that goes takes its templates along", async () => {
  const of = (await templates()).filter((t) => t.image === "debian:12");
  expect(of.length).toBe(1);
  await n.ok(n.vps("destroy", "sys-2", "--yes"));
  await n.ok(n.vps("image", "rm", "debian:12"));
  await n.until(templates, (all) => !all.some((t) => t.key === of[0]!.key));
  expect(existsSync(home(of[0]!.key))).toBe(false);
}, 60_000);
