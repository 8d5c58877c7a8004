/** What a user does with a machine, on a real node and a real machine. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { ROOT, startNode, WHY_NOT, type Ran, type TestNode } from "./node.ts";

if (WHY_NOT) console.log(`SKIP tests/e2e/machine: ${WHY_NOT}`);
const it = test.skipIf(WHY_NOT !== null);
let node: TestNode;
const vps = (...args: string[]): Promise<Ran> => node.vps(...args);
const ok = (result: Promise<Ran>): Promise<string> => node.ok(result);

beforeAll(async () => {
  if (!WHY_NOT) node = await startNode("e2e");
}, 60_000);
afterAll(async () => {
  if (!WHY_NOT) expect(await node.close()).toEqual([]);
}, 60_000);

it("up gives a machine that answers over SSH, and says so as promised", async () => {
  const out = await ok(vps("up", "one"));
  expect(out.replace(/[\d.]+s/, "3.2s")).toBe("✔ Image ready\n✔ Network attached\n✔ VM started (3.2s)\n→ SSH: vps ssh one\n");
  expect((await ok(vps("ssh", "one", "--", "hostname"))).trim()).toBe("one");
});

it("the VMM is nobody: a user of its own, no capabilities, seccomp, its own limits", async () => {
  const { id, observed } = await node.machine("one");
  const status = readFileSync(`/proc/${observed!.pid}/status`, "utf8");
  expect(status).toMatch(/^Uid:\t(9\d{5})\t\1\t\1\t\1$/m);
  expect(status).toMatch(/^CapEff:\t0{16}$/m);
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  if (node.limits) expect(readFileSync(`/proc/${observed!.pid}/cgroup`, "utf8")).toContain(`.${id}`);
  expect(readFileSync(`/proc/${observed!.pid}/comm`, "utf8")).toBe("hl-one\n");
});

it("exec passes on stdout, stderr, stdin and the exit code", async () => {
  expect(await vps("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 7")).toEqual({ code: 7, out: "out\n", err: "err\n" });
  const big = "x".repeat(1_000_000);
  expect((await node.sh([process.execPath, `${ROOT}/main.ts`, "vps", "exec", "-i", "one", "--", "wc", "-c"], big)).out.trim()).toBe(
    "1000000",
  );
  expect((await ok(vps("exec", "one", "--", "head", "-c", "3000000", "/dev/zero"))).length).toBe(3_000_000);
  expect((await vps("exec", "one", "--", "no-such-command")).code).toBe(127);
});

it("cp carries files both ways", async () => {
  writeFileSync(`${node.home}/file`, "content");
  await ok(vps("cp", `${node.home}/file`, "one:/srv/"));
  await ok(vps("cp", "one:/srv/file", `${node.home}/back`));
  expect(readFileSync(`${node.home}/back`, "utf8")).toBe("content");
});

it("a snapshot brings the disk back", async () => {
  await ok(vps("exec", "one", "--", "sh", "-c", "echo good > /root/state"));
  await ok(vps("snapshot", "one", "before"));
  await ok(vps("exec", "one", "--", "sh", "-c", "echo bad > /root/state"));
  await ok(vps("snapshot", "restore", "one", "before"));
  expect(await ok(vps("exec", "one", "--", "cat", "/root/state"))).toBe("good\n");
});

it("a new machine begins with a copy of a snapshot, as somebody else", async () => {
  const ids = "cat /root/state /etc/machine-id /proc/sys/kernel/random/boot_id; hostname";
  await ok(vps("up", "copy", "--from-snapshot", "one/before", "--ram", "384M"));
  const [one, copy] = await Promise.all(["one", "copy"].map(async (m) => (await ok(vps("exec", m, "--", "sh", "-c", ids))).split("\n")));
  expect([copy![0], copy![3]]).toEqual(["good", "copy"]);
  for (const i of [1, 2]) expect(copy![i]).not.toBe(one![i]!);
  const { spec } = await node.machine("copy");
  expect([spec.image, spec.memoryMib, spec.diskMib]).toEqual(["debian:12", 384, 10240]);
  // It has its own from then on, also when what it was copied from is gone.
  await ok(vps("exec", "copy", "--", "sh", "-c", "echo mine > /root/state"));
  await ok(vps("snapshot", "rm", "one", "before"));
  await ok(vps("restart", "copy"));
  const after = (await ok(vps("exec", "copy", "--", "cat", "/root/state", "/etc/machine-id"))).split("\n");
  expect(after.slice(0, 2)).toEqual(["mine", copy![1]!]);
  expect((await vps("up", "third", "--from-snapshot", "one/before")).err).toContain('"one" has no snapshot "before"');
  await ok(vps("destroy", "copy", "--yes"));
});

it("a terminal, as a shell wants one", async () => {
  const pieces: Uint8Array[] = [];
  const argv = [
    "ip",
    "netns",
    "exec",
    node.ns,
    process.execPath,
    `${ROOT}/main.ts`,
    "vps",
    "exec",
    "-it",
    "one",
    "sh",
    "-c",
    "tty; stty size; read line; echo got $line",
  ];
  const child = Bun.spawn(argv, {
    env: node.env,
    terminal: { cols: 90, rows: 33, data: (_: unknown, bytes: Uint8Array) => void pieces.push(bytes.slice()) },
  } as never) as Bun.Subprocess & { terminal: { write(text: string): void } };
  const seen = (): string => Buffer.concat(pieces).toString();
  await node.until(
    async () => seen(),
    (text) => text.includes("33 90\r\n"),
  );
  child.terminal.write("word\r");
  expect(await child.exited).toBe(0);
  await Bun.sleep(20);
  expect(seen()).toMatch(/^\/dev\/pts\/\d+\r\n33 90\r\nword\r\ngot word\r\n$/);
});

it("OpenSSH's own programs reach it through ssh-config", async () => {
  writeFileSync(`${node.home}/ssh`, await ok(vps("ssh-config", "one")));
  writeFileSync(`${node.home}/a b`, "with a space");
  await ok(node.sh(["scp", "-q", "-F", `${node.home}/ssh`, `${node.home}/a b`, "one:/srv/"]));
  await ok(node.sh(["rsync", "-a", "-e", `ssh -F ${node.home}/ssh`, "one:/srv/", `${node.home}/back2/`]));
  expect(readFileSync(`${node.home}/back2/a b`, "utf8")).toBe("with a space");
  expect((await node.sh(["ssh", "-F", `${node.home}/ssh`, "-o", "UserKnownHostsFile=/dev/null", "one", "true"])).code).toBe(255);
});

it("an image of it is a machine of its own; names, both address families and only exposed ports reach it", async () => {
  await ok(vps("exec", "one", "--", "sh", "-c", "mkdir -p /srv/www && echo hello > /srv/www/index"));
  await ok(vps("image", "create", "site:v1", "--from", "one"));
  await ok(vps("up", "two", "--image", "site:v1"));
  expect(await ok(vps("exec", "two", "--", "cat", "/srv/www/index"))).toBe("hello\n");
  const ids = await Promise.all(["one", "two"].map((m) => ok(vps("exec", m, "--", "cat", "/etc/machine-id"))));
  expect(ids[0]).not.toBe(ids[1]);
  const [one, two] = [await node.machine("one"), await node.machine("two")];
  for (const args of [
    ["-6", "two.internal"],
    ["-4", "two"],
    ["-6", two.observed!.address6!],
  ])
    await ok(vps("exec", "one", "--", "ping", "-c1", "-W5", ...args));
  // A machine that says it is another is not heard.
  expect(
    (
      await vps(
        "exec",
        "one",
        "--",
        "sh",
        "-c",
        `ip -6 addr add ${two.observed!.address6!.replace(/.$/, "f")}/64 dev eth0 nodad && ping -6 -c1 -W2 -I ${two.observed!.address6!.replace(/.$/, "f")} two`,
      )
    ).code,
  ).not.toBe(0);
  await ok(
    vps(
      "exec",
      "two",
      "--",
      "sh",
      "-c",
      "printf '[Socket]\nListenStream=8000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n' > /etc/systemd/system/hi.socket; printf '[Service]\nExecStart=-/bin/echo from two\nStandardOutput=socket\n' > /etc/systemd/system/hi@.service; systemctl start hi.socket",
    ),
  );
  const ask = (host: string, port: number) => node.sh(["timeout", "3", "bash", "-c", `exec 3<>/dev/tcp/${host}/${port} && cat <&3`]);
  await ok(vps("expose", "two", "--port", "8000", "--as", "18000"));
  expect((await ask("10.77.0.1", 18000)).out).toBe("from two\n");
  await ok(vps("expose", "two", "--port", "8000", "--off"));
  expect((await ask("10.77.0.1", 18000)).code).not.toBe(0);
  expect(one.observed!.address6).not.toBe(two.observed!.address6);
  await ok(vps("destroy", "two", "--yes"));
  await ok(vps("image", "rm", "site:v1"));
});

it("logs: the console, the workload, and what comes while one looks", async () => {
  expect(await ok(vps("logs", "one", "--workload"))).toContain("Reached target");
  await ok(vps("logs", "one", "--tail", "3"));
  const argv = [
    "ip",
    "netns",
    "exec",
    node.ns,
    process.execPath,
    `${ROOT}/main.ts`,
    "vps",
    "logs",
    "-f",
    "one",
    "--workload",
    "--tail",
    "0",
  ];
  const following = Bun.spawn(argv, { env: node.env, stdout: "pipe" });
  let seen = "";
  const reading = (async () => {
    for await (const bytes of following.stdout) seen += Buffer.from(bytes).toString();
  })();
  // It may not be listening yet.
  await node.until(
    async () => {
      await ok(vps("exec", "one", "--", "logger", "-t", "shop", "order 66"));
      return seen;
    },
    (text) => /shop.*order 66/.test(text),
  );
  following.kill();
  await reading;
});

it("scale takes effect with the restart it says it needs; show tells what is used", async () => {
  expect((await vps("scale", "one", "--ram", "768M")).err).toContain("vps restart one");
  await ok(vps("scale", "one", "--cpu", "2", "--restart"));
  expect((await ok(vps("exec", "one", "--", "sh", "-c", "nproc; grep MemTotal /proc/meminfo"))).replace(/\s+/g, " ")).toMatch(
    /^2 MemTotal: 7[0-9]{5} kB/,
  );
  expect(await ok(vps("show", "one"))).toMatch(/Used {5}RAM \d+M, disk \d+M, load/);
});

it("a full disk inside is the machine's own business", async () => {
  await ok(vps("up", "small", "--disk", "256M", "--ram", "256M"));
  const { code, err } = await vps("exec", "small", "--", "dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=400");
  expect([code, err]).toEqual([1, expect.stringContaining("No space left on device")]);
  await ok(vps("exec", "small", "--", "sh", "-c", "rm /root/big && echo fine > /root/f"));
  await ok(vps("destroy", "small", "--yes"));
});

it("doctor says what this host has", async () => {
  const checks = JSON.parse((await vps("doctor", "--json")).out) as { name: string; status: string; remedy: string | null }[];
  expect(checks.find((c) => c.name === "Control plane")?.status).toBe("PASSED");
  for (const c of checks) expect(c.status === "PASSED").toBe(c.remedy === null);
});

it("reboot and power-off from inside are what they say", async () => {
  const boot = (): Promise<string> => vps("exec", "one", "--", "cat", "/proc/sys/kernel/random/boot_id").then((r) => r.out);
  const before = await boot();
  const { observed } = await node.machine("one");
  await vps("exec", "one", "--", "systemctl", "reboot");
  await node.until(boot, (now) => now.length > 30 && now !== before);
  expect((await node.machine("one")).observed!.pid).toBe(observed!.pid);
  expect(await ok(vps("exec", "one", "--", "cat", "/root/state"))).toBe("good\n");
  await node.until(
    () => vps("exec", "one", "--", "systemctl", "is-system-running"),
    (r) => /running|degraded/.test(r.out),
  );
  await vps("exec", "one", "--", "systemctl", "poweroff");
  const off = await node.until(
    () => node.machine("one"),
    (m) => m.state === "stopped",
  );
  expect(off.reason).toBe("it was powered off from inside");
  await ok(vps("start", "one"));
});

it("pause, resume, stop, start, destroy; nothing is left behind", async () => {
  await ok(vps("pause", "one"));
  expect((await node.machine("one")).state).toBe("paused");
  await ok(vps("resume", "one"));
  await ok(vps("stop", "one"));
  expect((await node.machine("one")).state).toBe("stopped");
  await ok(vps("start", "one"));
  const { id } = await node.machine("one");
  await ok(vps("destroy", "one", "--yes"));
  expect((await vps("show", "one")).code).toBe(5);
  // A template that is just being made has one of its own.
  expect((await node.sh(["ip", "-br", "link"])).out).not.toContain(`hl-${id.slice(2)}`);
  for (const dir of ["machines", "disks", "logs"]) expect(existsSync(`${node.home}/state/${dir}/${id}`)).toBe(false);
});
