/** Volumes and folders in real machines: what is written stays, whoever is killed; what is not allowed does not happen. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/volumes: ${NO_BUSYBOX}`);
const e2e = test.skipIf(NO_BUSYBOX !== null);

let n: TestNode;
const allowed = `/tmp/hl-allowed-${process.pid}`;
const sh = (...words: string[]) => ["box:1", "sh", "-c", ...words];
beforeAll(async () => {
  if (NO_BUSYBOX) return;
  mkdirSync(`${allowed}/site`, { recursive: true });
  n = await startNode("volumes", ["--allow-folder", allowed]);
  await makeImage(n, "box", { Cmd: ["sh"] });
}, 60_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
  await Bun.$`rm -rf ${allowed}`.quiet();
}, 60_000);

const volumeFile = async (name: string): Promise<string> => {
  const { id } = JSON.parse(await n.ok(n.vps("volume", "inspect", name))) as { id: string };
  return `${n.state}/disks/${id}/kept/disk.raw`;
};

e2e(
  "a volume outlives its machines, begins with what the image has there, and holds no more than its size",
  async () => {
    const first = await n.ok(
      n.vps("run", "--rm", "-v", "home:/home/app", ...sh("ls -a /home/app; echo kept > /home/app/f; chown app /home/app/f")),
    );
    expect(first).toBe(".\n..\n");
    await n.ok(n.vps("run", "--rm", "-v", "etc:/etc", ...sh("rm /etc/group; echo mine > /etc/mine")));
    expect(
      await n.ok(n.vps("run", "--rm", "-v", "etc:/x", "-v", "home:/h", ...sh("ls /x; stat -c '%U %a' /h/f; cat /h/f; ls -A /h"))),
    ).toBe("hostname\nhosts\nmine\npasswd\nresolv.conf\napp 644\nkept\nf\n");
    await n.ok(n.vps("volume", "create", "small", "--size", "32M"));
    const full = await n.vps("run", "--rm", "-v", "small:/s", ...sh("dd if=/dev/zero of=/s/f bs=1M count=64"));
    expect([full.code, full.err]).toEqual([1, expect.stringContaining("No space left")]);
    expect(statSync(await volumeFile("small")).size).toBe(32 * 2 ** 20);
  },
  90_000,
);

e2e(
  "one machine writes, or many read: whatever a reader tries",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "writer", "-v", "shared:/d", ...sh("echo one > /d/one; sync; echo up; sleep 600")));
    expect((await n.vps("run", "--rm", "-v", "shared:/d:ro", ...sh("true"))).err).toContain('mounted by "writer"');
    await n.until(
      () => n.ok(n.vps("logs", "writer")),
      (text) => text === "up\n",
    );
    // Killed, so that its journal is left as it is.
    process.kill((await n.machine("writer")).observed!.pid!, "SIGKILL");
    await n.ok(n.vps("destroy", "-y", "writer"));
    const reader = sh("cat /d/one; touch /d/two; mount -o remount,rw /d; echo x > /dev/vdc; sleep 2");
    const both = await Promise.all([1, 2].map((i) => n.vps("run", "--rm", "--name", `reader-${i}`, "-v", "shared:/d:ro", ...reader)));
    for (const { out, err } of both) {
      expect([out, err]).toEqual(["one\n", expect.stringContaining("Read-only file system")]);
      expect(err).toContain("/d/two: Read-only file system");
      expect(err).toContain("mounting /dev/vdc on /d failed");
    }
    expect(await n.ok(n.vps("run", "--rm", "-v", "shared:/d", ...sh("ls /d")))).toBe("one\n");
  },
  90_000,
);

e2e(
  "volumes come, grow and go while a machine runs; its agent's end changes nothing",
  async () => {
    const inside = (...words: string[]) => n.ok(n.vps("exec", "host", "--", "sh", "-c", ...words));
    await n.ok(n.vps("run", "-d", "--name", "host", "--stop-timeout", "1", "box:1", "sleep", "600"));
    await n.ok(n.vps("volume", "create", "hot", "--size", "64M"));
    await n.ok(n.vps("volume", "attach", "hot", "host:/hot"));
    await inside("echo here > /hot/f");
    await n.kill("agent");
    await n.until(
      () => n.vps("exec", "host", "--", "cat", "/hot/f"),
      (r) => r.out === "here\n",
    );
    await n.ok(n.vps("volume", "resize", "hot", "256M"));
    expect(Number((await inside("df -m /hot | tail -1")).trim().split(/\s+/)[1])).toBeGreaterThan(200);
    await n.ok(n.vps("snapshot", "--volume", "hot", "before"));
    await inside("rm /hot/f; echo later > /hot/g");
    const using = n.vps("exec", "host", "--", "sh", "-c", "cd /hot; touch /tmp/in; sleep 5");
    await n.until(
      () => n.vps("exec", "host", "--", "test", "-e", "/tmp/in"),
      (r) => r.code === 0,
    );
    const busy = await n.vps("volume", "detach", "hot", "host");
    expect([busy.code, busy.err]).toEqual([6, expect.stringContaining("Something in the machine uses /hot")]);
    await using;
    await n.until(
      async () => Object.keys((await n.machine("host")).observed!.volumes),
      (left) => left.length === 0,
    );
    expect(await inside("ls /hot; cat /sys/block/vdc/size")).toBe("0\n");
    await n.ok(n.vps("snapshot", "restore", "--volume", "hot", "before"));
    await n.ok(n.vps("volume", "attach", "hot", "host:/again"));
    expect(await inside("ls /again; df -m /again | tail -1")).toMatch(/^f\n\/dev\/vdc +2[0-9]{2} /);
    const later = await n.vps("volume", "attach", "shared", "host:/shared:ro");
    expect(later.err).toContain("after the next start");
    await n.ok(n.vps("restart", "host"));
    expect(await inside("cat /shared/one; ls /again")).toBe("one\nf\n");
    expect((await n.vps("volume", "rm", "hot")).code).toBe(6);
    await n.ok(n.vps("destroy", "-y", "host"));
    const file = await volumeFile("hot");
    await n.ok(n.vps("volume", "rm", "hot"));
    expect(existsSync(file)).toBe(false);
  },
  120_000,
);

e2e(
  "a machine with an init of its own has its volumes before its services start, and after a reboot from inside",
  async () => {
    await n.ok(n.vps("up", "system", "-v", "srv:/srv", "--ram", "256M"));
    const mounted = async () => (await n.vps("exec", "system", "--", "sh", "-c", "findmnt -no SOURCE,FSTYPE /srv; cat /srv/f")).out;
    await n.ok(n.vps("exec", "system", "--", "sh", "-c", "echo kept > /srv/f; systemctl show -p ActiveEnterTimestampMonotonic srv.mount"));
    const boot = () => n.vps("exec", "system", "--", "cat", "/proc/sys/kernel/random/boot_id").then((r) => r.out);
    const before = await boot();
    await n.vps("exec", "system", "--", "systemctl", "reboot");
    await n.until(boot, (now) => now.length > 30 && now !== before);
    expect(await mounted()).toMatch(/^\/dev\/vdc +ext4\nkept\n$/);
    await n.ok(n.vps("destroy", "-y", "system"));
  },
  120_000,
);

e2e(
  "an archive becomes a volume, exactly; one that is cut off, wrong or too large leaves the volume as it was",
  async () => {
    const dir = `${n.home}/archive`;
    mkdirSync(`${dir}/sub`, { recursive: true });
    writeFileSync(`${dir}/a`, "a");
    await Bun.$`cd ${dir} && chown 12:34 a && chmod 4755 a && ln a sub/hard && ln -s /etc/shadow link && mknod null c 1 3 && setfattr -n user.k -v v a`.quiet();
    const tar = `${n.home}/a.tar`;
    await Bun.$`tar --xattrs -C ${dir} -cf ${tar} . && gzip -k ${tar} && zstd -q ${tar} && head -c 4000 ${tar} > ${tar}.cut && dd if=/dev/urandom of=${n.home}/noise bs=1M count=40 && tar -C ${n.home} -cf ${tar}.big noise`.quiet();
    for (const [i, packed] of ["", ".gz", ".zst"].entries()) {
      await n.ok(n.vps("volume", "create", `arch${i}`, "--size", "32M", "--from", `${tar}${packed}`));
      const seen = await n.ok(
        n.vps("run", "--rm", "-v", `arch${i}:/v`, ...sh("cd /v; stat -c '%n %F %u:%g %a %h' a sub/hard link null; readlink link; ls -A")),
      );
      expect(seen).toBe(
        "a regular file 12:34 4755 2\nsub/hard regular file 12:34 4755 2\nlink symbolic link 0:0 777 1\nnull character special file 0:0 644 1\n/etc/shadow\na\nlink\nnull\nsub\n",
      );
    }
    for (const [bad, why] of [
      [`${tar}.cut`, "cannot be unpacked"],
      ["/etc/passwd", "cannot be unpacked"],
      [`${tar}.big`, "more than the volume has room for"],
    ] as const)
      expect((await n.vps("volume", "import", "arch0", bad)).err).toContain(why);
    expect(await n.ok(n.vps("run", "--rm", "-v", "arch0:/v:ro", ...sh("cat /v/a; ls /v | wc -l")))).toBe("a4\n");
    expect((await n.vps("volume", "create", "arch9", "--size", "32M", "--from", `${tar}.big`)).code).toBe(7);
    expect((await n.vps("volume", "inspect", "arch9")).code).toBe(5);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain("import-v-");
  },
  90_000,
);

e2e(
  "folders of the host: to read unless asked otherwise, and nowhere but where its operator allows",
  async () => {
    writeFileSync(`${allowed}/site/index`, "hello\n");
    symlinkSync("/etc", `${allowed}/away`);
    const read = await n.vps(
      "run",
      "--rm",
      "-v",
      `${allowed}/site:/www`,
      ...sh("cat /www/index; mount -o remount,rw /www; touch /www/x; ls /www"),
    );
    expect([read.out, read.err]).toEqual(["hello\nindex\n", expect.stringContaining("Read-only file system")]);
    await n.ok(n.vps("run", "--rm", "-v", `${allowed}/site:/www:rw`, ...sh("echo back > /www/x; chown 7:8 /www/x")));
    const { uid, gid } = statSync(`${allowed}/site/x`);
    expect([readFileSync(`${allowed}/site/x`, "utf8"), uid, gid]).toEqual(["back\n", 7, 8]);
    for (const folder of ["/etc", `${allowed}/../../etc`, `${allowed}x`])
      expect((await n.vps("run", "--rm", "-v", `${folder}:/f`, ...sh("ls /f"))).code).toBe(4);
    expect((await n.vps("run", "--rm", "-v", `${allowed}/away:/f`, ...sh("ls /f"))).err).toContain("is not below a folder");
    expect((await n.vps("run", "--rm", "-v", `${allowed}/nowhere:/f`, ...sh("ls /f"))).err).toContain("There is no folder");
  },
  90_000,
);

e2e(
  "the agent killed in the middle of whatever is done with a volume: it goes on, once, and nothing is lost",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "steady", "box:1", "sleep", "600"));
    await n.ok(n.vps("volume", "create", "tossed", "--size", "64M"));
    await n.ok(n.vps("volume", "attach", "tossed", "steady:/t"));
    await n.ok(n.vps("exec", "steady", "--", "sh", "-c", "echo kept > /t/kept; sync"));
    const has = async () => (await n.machine("steady")).observed!.volumes;
    for (const ms of [0, 100]) {
      const gone = n.vps("volume", "detach", "tossed", "steady");
      await Bun.sleep(ms);
      await n.kill("agent");
      await gone;
      await n.until(has, (volumes) => Object.keys(volumes).length === 0);
      const back = n.vps("volume", "attach", "tossed", "steady:/t");
      await Bun.sleep(ms);
      await n.kill("agent");
      await back;
      await n.until(has, (volumes) => Object.values(volumes)[0]?.attached === true);
      await n.until(
        () => n.vps("exec", "steady", "--", "sh", "-c", "cat /t/kept; grep -c ' /t ' /proc/mounts"),
        (r) => r.out === "kept\n1\n",
      );
    }
    await n.ok(n.vps("destroy", "-y", "steady"));
    const slow = n.sh([
      "sh",
      "-c",
      `(cat ${n.home}/a.tar; sleep 20) | ${process.execPath} ${import.meta.dirname}/../../main.ts vps volume import tossed -`,
    ]);
    await n.until(
      () => n.sh(["sh", "-c", "ls /proc/[0-9]*/cmdline | xargs -n1 cat 2>/dev/null | tr '\\0' ' ' | grep -c import-v-"]),
      (r) => Number(r.out) > 0,
    );
    await n.kill("agent");
    expect((await slow).code).not.toBe(0);
    await n.until(
      () => n.vps("run", "--rm", "-v", "tossed:/t:ro", ...sh("ls /t")),
      (r) => r.out === "kept\n",
    );
    expect(await n.ok(n.sh(["sh", "-c", `ls ${n.state}/disks/*/kept`]))).not.toContain("import");
  },
  180_000,
);

e2e(
  "twelve volumes at once, and processes as the machine sees them",
  async () => {
    const mounts = Array.from({ length: 12 }, (_, i) => ["-v", `many${i}:/v/${i}`]).flat();
    for (let i = 0; i < 12; i++) await n.ok(n.vps("volume", "create", `many${i}`, "-s", "16M"));
    await n.ok(
      n.vps("run", "-d", "--name", "many", ...mounts, ...sh("for i in /v/*; do echo $i > $i/f; done; sleep 600 & exec sleep 599")),
    );
    await n.until(
      () => n.ok(n.vps("exec", "many", "--", "sh", "-c", "cat /v/*/f | wc -l")),
      (count) => count === "12\n",
    );
    const processes = async () => JSON.parse(await n.ok(n.vps("top", "many", "--json"))) as { pid: number; argv: string[] }[];
    const [first] = await n.until(
      processes,
      (list) =>
        list
          .map((p) => p.argv.join(" "))
          .sort()
          .join() === "sleep 599,sleep 600",
    );
    expect(first!.pid).toBe(1);
    await n.ok(n.vps("destroy", "-y", "many"));
    await n.ok(n.vps("volume", "prune", "--yes"));
    await n.until(
      async () => JSON.parse(await n.ok(n.vps("volume", "list", "--json"))) as unknown[],
      (left) => left.length === 0,
    );
    expect(await n.ok(n.sh(["ls", `${n.state}/disks`]))).toBe("");
  },
  90_000,
);
