/** One real node in a network namespace of its own, a real machine, and the verbs a user has. Needs root and build/guest. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const why =
  process.getuid?.() !== 0
    ? "it needs root"
    : !existsSync(`${root}/build/guest/debian-12.erofs`)
      ? "build/guest is missing: run scripts/main.ts guest"
      : null;
if (why) console.log(`SKIP tests/e2e: ${why}`);
const it = test.skipIf(why !== null);

const ns = `hl-e2e-${process.pid}`;
const home = mkdtempSync(join(tmpdir(), "hl-e2e-"));
chmodSync(home, 0o711); // the VMMs run as users of their own
const env = { PATH: process.env.PATH!, HOME: home, HYPERLANE_DIR: `${home}/state`, LC_ALL: "C" };

async function sh(argv: string[], input?: string): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn(["ip", "netns", "exec", ns, ...argv], {
    env,
    cwd: home,
    stdin: input === undefined ? "ignore" : Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, out, err };
}
const vps = (...args: string[]) => sh([process.execPath, `${root}/main.ts`, "vps", ...args]);
const host = (...args: string[]) => sh([process.execPath, `${root}/main.ts`, "hyperlane", ...args]);
async function ok(result: Promise<{ code: number; out: string; err: string }>): Promise<string> {
  const { code, out, err } = await result;
  if (code !== 0) throw new Error(`exit ${code}\n${out}${err}`);
  return out;
}
const machine = async (name: string) =>
  JSON.parse(await ok(vps("show", name, "--json"))) as { id: string; state: string; observed: { pid: number } };

beforeAll(async () => {
  if (why) return;
  await Bun.$`ip netns add ${ns} && ip -n ${ns} link set lo up`.quiet();
  await ok(host("init", "--guest", `${root}/build/guest`, "--cpus", "8"));
});

afterAll(async () => {
  if (why) return;
  await vps("destroy", "one", "--yes", "--if-exists");
  await vps("destroy", "two", "--yes", "--if-exists");
  await host("stop");
  await Bun.$`ip netns del ${ns}`.quiet();
  rmSync(home, { recursive: true, force: true });
});

it("up gives a machine that answers over SSH, and says so as promised", async () => {
  const out = await ok(vps("up", "one"));
  expect(out.replace(/[\d.]+s/, "3.2s")).toBe("✔ Image ready\n✔ Network attached\n✔ VM started (3.2s)\n→ SSH: vps ssh one\n");
  expect((await ok(vps("ssh", "one", "--", "hostname"))).trim()).toBe("one");
});

it("exec passes on stdout, stderr, stdin and the exit code", async () => {
  expect(await vps("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 7")).toEqual({ code: 7, out: "out\n", err: "err\n" });
  const big = "x".repeat(1_000_000);
  expect((await sh([process.execPath, `${root}/main.ts`, "vps", "exec", "-i", "one", "--", "wc", "-c"], big)).out.trim()).toBe("1000000");
  expect((await ok(vps("exec", "one", "--", "head", "-c", "3000000", "/dev/zero"))).length).toBe(3_000_000);
  expect((await vps("exec", "one", "--", "no-such-command")).code).toBe(127);
});

it("cp carries files both ways", async () => {
  writeFileSync(`${home}/file`, "content");
  await ok(vps("cp", `${home}/file`, "one:/srv/"));
  await ok(vps("cp", "one:/srv/file", `${home}/back`));
  expect(readFileSync(`${home}/back`, "utf8")).toBe("content");
});

it("a snapshot brings the disk back", async () => {
  await ok(vps("exec", "one", "--", "sh", "-c", "echo good > /root/state"));
  await ok(vps("snapshot", "one", "before"));
  await ok(vps("exec", "one", "--", "sh", "-c", "echo bad > /root/state"));
  await ok(vps("snapshot", "restore", "one", "before"));
  expect(await ok(vps("exec", "one", "--", "cat", "/root/state"))).toBe("good\n");
});

it("control plane and agent killed: the machine runs on and is taken up again", async () => {
  const before = await machine("one");
  for (const role of ["serve", "agent"]) {
    const id = JSON.parse(readFileSync(`${home}/state/${role}.pid`, "utf8")) as { pid: number };
    for (const child of readFileSync(`/proc/${id.pid}/task/${id.pid}/children`, "utf8").trim().split(" "))
      process.kill(Number(child), "SIGKILL");
  }
  for (let i = 0; i < 100 && (await vps("exec", "one", "--", "true")).code !== 0; i++) await Bun.sleep(100);
  const after = await machine("one");
  expect([after.state, after.observed.pid]).toEqual(["running", before.observed.pid]);
  expect(await ok(vps("exec", "one", "--", "cat", "/root/state"))).toBe("good\n");
});

it("a killed VMM is started again, with its disk", async () => {
  const { observed } = await machine("one");
  process.kill(observed.pid, "SIGKILL");
  for (let i = 0; i < 300; i++) {
    const now = await machine("one");
    if (now.state === "running" && now.observed.pid !== observed.pid) break;
    await Bun.sleep(100);
  }
  expect(await ok(vps("exec", "one", "--", "cat", "/root/state"))).toBe("good\n");
});

it("pause, resume, stop, start, destroy; nothing is left behind", async () => {
  await ok(vps("pause", "one"));
  expect((await machine("one")).state).toBe("paused");
  await ok(vps("resume", "one"));
  await ok(vps("stop", "one"));
  expect((await machine("one")).state).toBe("stopped");
  await ok(vps("start", "one"));
  const { id } = await machine("one");
  await ok(vps("destroy", "one", "--yes"));
  expect((await vps("show", "one")).code).toBe(5);
  expect((await sh(["ip", "-br", "link"])).out).not.toContain("hl-");
  for (const dir of ["machines", "disks", "logs"]) expect(existsSync(`${home}/state/${dir}/${id}`)).toBe(false);
});
