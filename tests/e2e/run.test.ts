/** Images run as machines, and as containers of Debian's Docker with the same words: what they print and how they end is the same. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { startDocker, whyNoDocker } from "#tests/oci/docker.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { startNode, type TestNode } from "./node.ts";

const NO_DOCKER = await whyNoDocker();
const SKIP = NO_BUSYBOX;
if (SKIP) console.log(`SKIP tests/e2e/run: ${SKIP}`);
else if (NO_DOCKER) console.log(`SKIP tests/e2e/run, comparisons with Docker only: ${NO_DOCKER}`);
const e2e = test.skipIf(SKIP !== null);
const peer = test.skipIf((SKIP ?? NO_DOCKER) !== null);

let n: TestNode;
let d: Awaited<ReturnType<typeof startDocker>> | undefined;

beforeAll(async () => {
  if (SKIP) return;
  n = await startNode("run");
  await makeImage(n, "box", {
    Cmd: ["sh"],
    Env: ["PATH=/bin:/usr/bin", "FOO=bar baz", "EMPTY="],
    WorkingDir: "/srv/app",
    StopSignal: "SIGUSR1",
  });
  await makeImage(n, "tool", { Entrypoint: ["/bin/echo", "said:"], Cmd: ["nothing"], User: "app" });
  await makeImage(n, "bare", {}, true);
  if (NO_DOCKER) return;
  d = await startDocker();
  for (const name of ["box", "tool", "bare"]) {
    await n.ok(n.vps("image", "save", `${name}:1`, "-o", `${n.home}/${name}.tar`));
    expect((await d.docker("load", "-i", `${n.home}/${name}.tar`)).out).toContain(`${name}:1`);
  }
}, 120_000);
afterAll(async () => {
  await d?.close();
  if (!SKIP) expect(await n.close()).toEqual([]);
}, 60_000);

/** What both are asked: flags, image, command. */
const SAME: readonly (readonly string[])[] = [
  ["box:1", "sh", "-c", "echo out; echo err >&2; exit 3"],
  ["box:1", "sh", "-c", "id; pwd; env | sort; umask; readlink /proc/self/fd/0"],
  ["-u", "app", "box:1", "sh", "-c", "id; echo $HOME; touch /srv/app/x || touch /tmp/x; echo > /dev/stdout; echo > /dev/stderr"],
  ["-u", "odd", "box:1", "sh", "-c", "id; echo $HOME"],
  ["-u", "1000", "box:1", "sh", "-c", "id; echo $HOME"],
  ["-u", "77", "box:1", "sh", "-c", "id; echo $HOME"],
  ["-u", "77:88", "box:1", "sh", "-c", "id"],
  ["-u", "app:extra", "box:1", "sh", "-c", "id"],
  ["-e", "FOO=changed", "-e", "NEW=a b", "-w", "/made/on/the way", "box:1", "sh", "-c", "pwd; echo $FOO/$NEW/$EMPTY"],
  ["box:1", "sh", "-c", "kill -9 $$; echo still there"],
  ["box:1", "sh", "-c", "sh -c 'kill -SEGV $$'; echo $?"],
  [
    "box:1",
    "sh",
    "-c",
    "ps -o pid,args | head -2; sleep 0.1 & wait; sh -c 'sleep 0.1 & exit 0'; sleep 1; x=$(ps); echo \"$x\" | grep -c sleep",
  ],
  [
    "--read-only",
    "box:1",
    "sh",
    "-c",
    "echo x > /etc/x; touch /tmp/x; echo $?; hostname > /dev/shm/h && wc -l < /dev/shm/h; grep -c localhost /etc/hosts",
  ],
  ["tool:1"],
  ["tool:1", "more", "words  with spaces", "$HOME", "*"],
  ["--entrypoint", "/bin/id", "tool:1"],
  ["box:1", "sh", "-c", "printf 'no newline'"],
  ["bare:1", "/bin/busybox", "id"],
  ["-u", "5:6", "-w", "/", "bare:1", "/bin/busybox", "stat", "-c", "%n %u %g %a %s", "/bin/busybox"],
  ["bare:1", "/bin/busybox", "false"],
  ["box:1", "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x | fold -w 1000; echo end"],
];

for (const words of SAME)
  peer(
    `as docker run: ${words.join(" ").slice(0, 90)}`,
    async () => {
      const flags = ["run", "--rm", "--hostname", "same"];
      const [ours, theirs] = await Promise.all([n.vps(...flags, ...words), d!.docker(...flags, "--network", "none", ...words)]);
      expect({ ...ours, err: ours.err }).toEqual(theirs);
    },
    60_000,
  );

peer(
  "the tree that the machine sees is the tree that the container sees",
  async () => {
    const find = [
      "find",
      "/",
      "(",
      "-path",
      "/proc",
      "-o",
      "-path",
      "/sys",
      "-o",
      "-path",
      "/dev",
      ")",
      "-prune",
      "-o",
      "-exec",
      "stat",
      "-c",
      "%n %f %u:%g %s",
      "{}",
      "+",
    ];
    const look = (text: string): string[] =>
      text
        .split("\n")
        // Each engine's own: what it lays over the image, and sizes of directories.
        .filter(
          (l) => l && !/^(\/|\/proc|\/sys|\/dev|\/etc|\/etc\/(hosts|hostname|resolv\.conf|mtab)|\/\.dockerenv|\/srv(\/app)?) /.test(l),
        )
        .map((l) => (/ 4[0-9a-f]{3} /.test(l) ? l.replace(/ \d+$/, "") : l))
        .sort();
    const [ours, theirs] = await Promise.all([
      n.ok(n.vps("run", "--rm", "box:1", ...find)),
      d!.docker("run", "--rm", "--network", "none", "box:1", ...find),
    ]);
    expect(look(ours).length).toBeGreaterThan(200);
    expect(look(ours)).toEqual(look(theirs.out));
  },
  60_000,
);

e2e(
  "a command that is not there, a user that is not there, an image that is not there",
  async () => {
    expect([
      (await n.vps("run", "--rm", "box:1", "nosuch")).code,
      (await n.vps("run", "--rm", "-u", "nobody7", "box:1", "id")).code,
    ]).toEqual([127, 126]);
    expect((await n.vps("run", "--rm", "--pull", "never", "not-here")).code).toBe(5);
    expect((await n.vps("run", "--rm", "bare:1")).err).toContain("names no command");
  },
  60_000,
);

e2e(
  "an image of one static program, without even /etc",
  async () => {
    const { out, code } = await n.vps("run", "--rm", "bare:1", "/bin/busybox", "cat", "/etc/hosts", "/etc/hostname");
    expect([code, out]).toEqual([0, expect.stringMatching(/localhost[\s\S]*bare-\w+\n$/)]);
  },
  60_000,
);

e2e(
  "stdin goes in, Ctrl-C comes through, the image's stop signal is what stop sends",
  async () => {
    const typed = await n.sh(
      [process.execPath, `${import.meta.dirname}/../../main.ts`, "vps", "run", "--rm", "-i", "box:1", "sh", "-c", "wc -c; echo done"],
      "x".repeat(200_000),
    );
    expect([typed.code, typed.out]).toEqual([0, "200000\ndone\n"]);
    const script = 'trap "echo int; exit 4" INT; trap "echo usr1; exit 5" USR1; echo up; while true; do sleep 0.1; done';
    await n.ok(n.vps("run", "-d", "--name", "trapper", "box:1", "sh", "-c", script));
    await n.until(
      () => n.ok(n.vps("logs", "trapper")),
      (t) => t === "up\n",
    );
    await n.ok(n.vps("kill", "-s", "INT", "trapper"));
    expect(await n.ok(n.vps("wait", "trapper"))).toBe("4\n");
    await n.ok(n.vps("start", "trapper"));
    await n.until(
      () => n.ok(n.vps("logs", "trapper")),
      (t) => t.split("up\n").length === 3,
    );
    await n.ok(n.vps("stop", "trapper"));
    expect((await n.machine("trapper")).observed?.exitCode).toBe(5);
    expect(await n.ok(n.vps("logs", "--tail", "2", "trapper"))).toBe("up\nusr1\n");
    const stamped = await n.ok(n.vps("logs", "-t", "trapper"));
    expect(
      stamped
        .split("\n")
        .filter(Boolean)
        .every((l) => /^\d{4}-\d\d-\d\dT[\d:.]{18}Z \w+$/.test(l)),
    ).toBe(true);
    const [first] = stamped.split(" ");
    expect((await n.ok(n.vps("logs", "--since", new Date(Date.parse(first!) + 1).toISOString(), "trapper"))).startsWith("int\n")).toBe(
      true,
    );
    await n.ok(n.vps("destroy", "-y", "trapper"));
  },
  60_000,
);

e2e(
  "restart policies, and out of memory told apart",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "fails", "--restart", "on-failure:2", "box:1", "sh", "-c", "echo run; exit 7"));
    await n.until(
      () => n.machine("fails"),
      (m) => m.state === "stopped" && m.attempt === 2,
      90_000,
    );
    expect([await n.ok(n.vps("logs", "fails")), (await n.machine("fails")).observed?.exitCode]).toEqual(["run\nrun\nrun\n", 7]);
    const hungry = await n.vps(
      "run",
      "--name",
      "hungry",
      "-m",
      "128M",
      "box:1",
      "sh",
      "-c",
      "echo 1 > /proc/sys/vm/overcommit_memory; exec dd if=/dev/zero of=/dev/null bs=400M count=1",
    );
    expect([hungry.code, (await n.machine("hungry")).observed?.exit]).toEqual([137, "out-of-memory"]);
    const panics = await n.vps("run", "--name", "panics", "box:1", "sh", "-c", "sleep 0.3; echo c > /proc/sysrq-trigger; sleep 5");
    expect([panics.code, (await n.machine("panics")).observed?.exit]).toEqual([
      expect.any(Number),
      expect.stringMatching(/panicked|exited/),
    ]);
    await n.ok(n.vps("destroy", "-y", "fails"));
    await n.ok(n.vps("destroy", "-y", "hungry"));
    await n.ok(n.vps("destroy", "-y", "panics"));
  },
  120_000,
);

e2e(
  "the agent killed while it runs: nothing it printed is lost, and its exit code is known",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "counter", "box:1", "sh", "-c", "for i in $(seq 40); do echo $i; sleep 0.1; done; exit 6"));
    process.kill(n.pidOf("agent"), "SIGKILL");
    await n.until(
      () => n.machine("counter").catch(() => null),
      (m) => m?.state === "stopped",
    );
    expect(await n.ok(n.vps("logs", "counter"))).toBe(Array.from({ length: 40 }, (_, i) => `${i + 1}\n`).join(""));
    expect((await n.machine("counter")).observed?.exitCode).toBe(6);
    await n.ok(n.vps("destroy", "-y", "counter"));
  },
  90_000,
);

e2e(
  "an image from a machine: what was written is there, what was removed is not; the disk's limit holds inside",
  async () => {
    await n.ok(
      n.vps(
        "run",
        "-d",
        "--name",
        "writer",
        "--disk",
        "256M",
        "-p",
        "18099:80",
        "box:1",
        "sh",
        "-c",
        "mkdir /www; echo hello > /www/index.html; rm -r /home; exec httpd -f -p 80 -h /www",
      ),
    );
    const page = () => n.sh(["curl", "-s", "--max-time", "2", "http://127.0.0.1:18099/"]).then((r) => r.out);
    expect(await n.until(page, (t) => t !== "")).toBe("hello\n");
    const full = await n.vps("exec", "writer", "--", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=400");
    expect([full.code, full.err]).toEqual([1, expect.stringContaining("No space left")]);
    await n.ok(n.vps("exec", "writer", "--", "rm", "/big"));
    await n.ok(n.vps("commit", "writer", "written:1"));
    expect(
      (
        await n.vps(
          "run",
          "--rm",
          "written:1",
          "sh",
          "-c",
          "cat /www/index.html; ls -d /home || true; cat /etc/hosts | grep -c writer || true",
        )
      ).out,
    ).toBe("hello\n0\n");
    const image = JSON.parse(await n.ok(n.vps("image", "inspect", "written:1"))) as { layers: unknown[]; history: unknown[] };
    expect([image.layers.length, image.history.length]).toEqual([2, 2]);
    await n.ok(n.vps("destroy", "-y", "writer"));
  },
  90_000,
);

e2e(
  "a second machine of an image copies nothing",
  async () => {
    const used = (): number =>
      Number(
        readFileSync("/proc/self/mounts", "utf8") &&
          Bun.spawnSync(["du", "-sk", `${n.state}/images`, `${n.state}/disks`, "--total"])
            .stdout.toString()
            .trim()
            .split("\n")
            .at(-1)!
            .split("\t")[0],
      );
    await n.ok(n.vps("run", "-d", "--name", "one", "--disk", "1G", "box:1", "sleep", "600"));
    const before = used();
    await n.ok(n.vps("run", "-d", "--name", "two", "--disk", "1G", "box:1", "sleep", "600"));
    expect(used() - before).toBeLessThan(1024);
    for (const m of ["one", "two"]) await n.ok(n.vps("destroy", "-y", m));
  },
  60_000,
);

e2e(
  "health: starting, healthy, unhealthy, and healthy again, in ps and events",
  async () => {
    const flags = ["--health-cmd", "test -e /tmp/well", "--health-interval", "300ms", "--health-retries", "2"];
    await n.ok(n.vps("run", "-d", "--name", "patient", ...flags, "box:1", "sh", "-c", "sleep 1; touch /tmp/well; sleep 600"));
    expect(await n.ok(n.vps("ps"))).toContain("(health: starting)");
    const health = async () => (await n.machine("patient")).observed?.health;
    await n.until(health, (h) => h === "healthy");
    await n.ok(n.vps("exec", "patient", "--", "rm", "/tmp/well"));
    await n.until(health, (h) => h === "unhealthy");
    expect(await n.ok(n.vps("ps"))).toContain("(unhealthy)");
    process.kill(n.pidOf("agent"), "SIGKILL");
    await n.until(
      () => n.vps("exec", "patient", "--", "touch", "/tmp/well"),
      (r) => r.code === 0,
    );
    await n.until(health, (h) => h === "healthy");
    await n.ok(n.vps("destroy", "-y", "patient"));
  },
  90_000,
);

e2e(
  "stats count, attach shows what comes and passes on what is typed",
  async () => {
    await n.ok(n.vps("run", "-d", "-i", "--name", "busy", "box:1", "sh", "-c", "echo early; read line; echo got $line; exit 3"));
    const [seen] = JSON.parse(await n.ok(n.vps("stats", "--json", "busy"))) as {
      name: string;
      memoryMib: number;
      cpuMs: number;
      networkOutBytes: number;
    }[];
    expect([seen!.name, seen!.memoryMib > 300, seen!.cpuMs > 100, seen!.networkOutBytes >= 0]).toEqual(["busy", true, true, true]);
    expect(await n.ok(n.vps("stats", "--no-stream", "busy"))).toMatch(/NAME +CPU +RAM.*\nbusy +\d+\.\d%/);
    const attached = await n.sh([process.execPath, `${import.meta.dirname}/../../main.ts`, "vps", "attach", "busy"], "hello\n");
    expect([attached.code, attached.out]).toEqual([3, "got hello\n"]);
    await n.ok(n.vps("destroy", "-y", "busy"));
  },
  60_000,
);

e2e(
  "cp takes and gives archives, and keeps owners where asked",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "keeper", "box:1", "sleep", "600"));
    const dir = `${n.home}/owned`;
    await Bun.$`mkdir -p ${dir}/sub && echo text > ${dir}/sub/f && chown -R 12:34 ${dir} && chmod 4755 ${dir}/sub/f`.quiet();
    const vps = `${process.execPath} ${import.meta.dirname}/../../main.ts vps`;
    const seen = () => n.ok(n.vps("exec", "keeper", "--", "stat", "-c", "%u:%g %a", "/srv/sub", "/srv/sub/f"));
    await n.ok(n.sh(["sh", "-c", `tar -C ${dir} -c sub | ${vps} cp - keeper:/srv`]));
    expect(await seen()).toBe("0:0 755\n0:0 4755\n");
    await n.ok(n.vps("cp", "-a", `${dir}/sub`, "keeper:/srv/"));
    expect(await seen()).toBe("12:34 755\n12:34 4755\n");
    expect(await n.ok(n.sh(["sh", "-c", `${vps} cp keeper:/srv/sub - | tar -tv --numeric-owner`]))).toMatch(/-rwsr-xr-x 12\/34 .* sub\/f/);
    await n.ok(n.vps("cp", "-a", "keeper:/srv/sub", `${n.home}/back`));
    expect((await n.sh(["stat", "-c", "%u:%g", `${n.home}/back/f`])).out).toBe("12:34\n");
    await n.ok(n.vps("destroy", "-y", "keeper"));
  },
  60_000,
);

peer(
  "what docker save writes is loaded, and runs",
  async () => {
    await d!.docker("tag", "tool:1", "saved:1");
    expect((await d!.docker("save", "-o", `${n.home}/saved.tar`, "saved:1")).code).toBe(0);
    expect(await n.ok(n.vps("image", "load", "-i", `${n.home}/saved.tar`))).toContain("saved:1");
    expect(await n.ok(n.vps("run", "--rm", "saved:1", "loaded"))).toBe("said: loaded\n");
  },
  60_000,
);
