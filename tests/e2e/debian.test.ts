/**
 * Images made from Debian's packages, in a machine and in Debian's Docker with the same words: nginx, redis, PostgreSQL,
 * python3 and node; one of forty layers with users, capabilities and white-outs; one with systemd. Files, environment,
 * user, directory, exit codes and signals are the same.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { startDocker, whyNoDocker } from "#tests/oci/docker.ts";
import { startRegistry, tarOf, WHY_NO_REGISTRY, writeImages } from "#tests/oci/peers.ts";
import { startNode, WHY_NOT, type TestNode } from "./node.ts";

const SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"].find((f) => existsSync(f));
const SKIP = WHY_NOT ?? WHY_NO_REGISTRY ?? (await whyNoDocker()) ?? (SOURCES ? null : "no Debian mirror is configured");
if (SKIP) console.log(`SKIP tests/e2e/debian: ${SKIP}`);
const e2e = test.skipIf(SKIP !== null);
const PACKAGES = "nginx-light,redis-server,postgresql,python3-minimal,nodejs,systemd-sysv,attr,libcap2-bin";
const LAYERS = 40;

type Ran = { code: number; out: string; err: string };
let n: TestNode;
let d: Awaited<ReturnType<typeof startDocker>>;
let registry: Awaited<ReturnType<typeof startRegistry>>;

beforeAll(async () => {
  if (SKIP) return;
  [n, d, registry] = await Promise.all([startNode("debian"), startDocker(), startRegistry()]);
  const dir = `${n.home}/made`;
  mkdirSync(dir);
  await Bun.$`mmdebstrap --variant=minbase --include=${PACKAGES} bookworm ${dir}/root ${SOURCES}`.quiet();
  await Bun.$`rm -rf ${dir}/root/usr/share/doc ${dir}/root/usr/share/locale ${dir}/root/usr/share/man ${dir}/root/var/cache/apt ${dir}/root/var/lib/apt/lists`.quiet();
  writeFileSync(`${dir}/root/usr/bin/tree`, TREE, { mode: 0o755 });
  const base = await tarOf(`${dir}/root`);
  const deep = [base, ...(await manyLayers(dir))];
  const Env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
  const image = (tag: string, config: object, layers = [base]) => ({ tag, layers, config: { Env, ...config } });
  writeImages(`${dir}/layout`, [
    image("nginx:1", { Cmd: ["nginx", "-g", "daemon off;"], StopSignal: "SIGQUIT", ExposedPorts: { "80/tcp": {} } }),
    image("redis:1", { Entrypoint: ["redis-server"], Cmd: ["--save", ""], User: "redis", WorkingDir: "/var/lib/redis" }),
    image("postgres:1", { Cmd: ["sh", "-c", POSTGRES], User: "postgres", Env: [...Env, "PGDATA=/var/lib/postgresql/data"] }),
    image("python:1", { Entrypoint: ["python3"], Env: [...Env, "PYTHONUNBUFFERED=1"] }),
    image("node:1", { Entrypoint: ["node"], WorkingDir: "/srv/app", User: "www-data:redis" }),
    image("systemd:1", { Cmd: ["/sbin/init"], StopSignal: "SIGRTMIN+3" }),
    image("deep:1", { Cmd: ["tree"], User: "layered:39" }, deep),
  ]);
  await Bun.$`tar -C ${dir}/layout -cf ${dir}/layout.tar .`.quiet();
  await n.ok(n.vps("image", "load", "-i", `${dir}/layout.tar`));
  for (const name of ["nginx", "redis", "postgres", "python", "node", "systemd", "deep"]) {
    const at = `${registry.host}/${name}:1`;
    await Bun.$`skopeo copy --quiet --dest-tls-verify=false oci:${dir}/layout:${name}:1 docker://${at}`.quiet();
    expect((await d.docker("pull", "-q", at)).code).toBe(0);
    await d.docker("tag", at, `${name}:1`);
  }
  rmSync(dir, { recursive: true, force: true });
}, 400_000);
afterAll(async () => {
  if (SKIP) return;
  await d.close();
  await registry.close();
  expect(await n.close()).toEqual([]);
}, 60_000);

/** Every file with all that it is; not what an engine lays over the image, and not the sizes of directories. */
const TREE = `#!/usr/bin/python3
import os, stat
own = {"/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv"}
def visit(path):
    s = os.lstat(path)
    link = os.readlink(path) if stat.S_ISLNK(s.st_mode) else ""
    attributes = {k: os.getxattr(path, k, follow_symlinks=False).hex() for k in sorted(os.listxattr(path, follow_symlinks=False))}
    directory = stat.S_ISDIR(s.st_mode)
    print(path, oct(s.st_mode), s.st_uid, s.st_gid, 0 if directory else s.st_size, 0 if directory else s.st_nlink, s.st_rdev, int(s.st_mtime), link, attributes)
    if directory:
        for name in sorted(os.listdir(path)):
            if (path.rstrip("/") + "/" + name) not in own: visit(path.rstrip("/") + "/" + name)
for name in sorted(os.listdir("/")):
    if "/" + name not in own: visit("/" + name)
`;

const POSTGRES = `export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
[ -s $PGDATA/PG_VERSION ] || initdb -A trust -N >/dev/null
pg_ctl -w -l /tmp/log -o "-k /tmp -c fsync=off" start >/dev/null || cat /tmp/log
psql -h /tmp -qc "create table if not exists t (i serial, at text)" postgres
psql -h /tmp -qc "insert into t (at) values (current_setting('data_directory'))" postgres
psql -h /tmp -Atc "select i, at from t order by i" postgres
pg_ctl -m fast stop >/dev/null`;

/** Each adds, changes and removes something of those before: files, links, capabilities, users, whole directories. */
async function manyLayers(dir: string): Promise<Buffer[]> {
  const layers: Buffer[] = [];
  for (let i = 0; i < LAYERS; i++) {
    const at = `${dir}/layer`;
    mkdirSync(`${at}/layers/${i}/deep/er`, { recursive: true });
    writeFileSync(`${at}/layers/${i}/file`, `${i}\n`.repeat(i));
    writeFileSync(`${at}/layers/same`, `layer ${i}`);
    await Bun.$`cd ${at}/layers/${i} && ln file hard && ln -s ../${(i + 1) % LAYERS}/file link && mkfifo pipe && chown ${i}:${i} file && chmod ${4000 + (i % 8) * 100 + 11} file`.quiet();
    await Bun.$`cd ${at}/layers/${i} && cp /bin/true able && setcap cap_net_raw=ep able && setfattr -n user.layer -v ${i} deep && truncate -s 1M sparse`.quiet();
    if (i % 3 === 2) writeFileSync(`${at}/layers/.wh.${i - 2}`, "");
    if (i % 7 === 6) {
      mkdirSync(`${at}/layers/${i - 1}/deep`, { recursive: true });
      writeFileSync(`${at}/layers/${i - 1}/deep/.wh..wh..opq`, "");
      writeFileSync(`${at}/layers/${i - 1}/deep/instead`, "");
    }
    if (i === 5) {
      mkdirSync(`${at}/etc`);
      writeFileSync(`${at}/etc/passwd`, "root:x:0:0:root:/root:/bin/sh\nlayered:x:1234:1234::/layers:/bin/sh\n");
    }
    layers.push(await tarOf(at));
    rmSync(at, { recursive: true });
  }
  return layers;
}

const both = async (image: string, ...words: string[]): Promise<[Ran, Ran]> => {
  const flags = ["run", "--rm", "--hostname", "same"];
  const split = words.indexOf("--");
  const [more, command] = split < 0 ? [[], words] : [words.slice(0, split), words.slice(split + 1)];
  return await Promise.all([
    // Where its image is converted first, it says that it still waits.
    n.vps(...flags, ...more, image, ...command).then((r) => ({ ...r, err: r.err.replace(/^Still waiting: .*\n/gm, "") })),
    d.docker(...flags, "--network", "none", ...more, image, ...command),
  ]);
};

e2e(
  "forty layers with users, capabilities, links and white-outs: the trees are one, entry by entry",
  async () => {
    const [ours, theirs] = await both("deep:1", "-u", "root", "--", "tree");
    expect([ours.code, theirs.code, ours.err]).toEqual([0, 0, ""]);
    const [mine, docker] = [ours.out.split("\n"), theirs.out.split("\n")];
    expect(docker.length).toBeGreaterThan(10_000);
    expect(docker.filter((l) => l.includes("security.capability")).length).toBeGreaterThan(20);
    // An engine makes these anew, each in its way.
    const settle = (lines: string[]) => lines.filter((l) => !/^\/(etc|run|tmp) /.test(l));
    expect(settle(mine)).toEqual(settle(docker));
    const [who, whoTheirs] = await both("deep:1", "--", "id");
    expect([who.out, who.code]).toEqual([whoTheirs.out, 0]);
  },
  180_000,
);

e2e(
  "python3 and node: arguments, environment, directory, users, exit codes",
  async () => {
    const python = "import os, sys; print(sorted(os.environ.items()), os.getcwd(), os.getuid(), os.getgroups(), sys.argv); sys.exit(7)";
    const node =
      "console.log(process.argv.slice(1), process.cwd(), process.getuid(), process.getgid(), process.env.HOME); process.exitCode = 3; process.kill(process.pid, 'SIGUSR2')";
    const raise = "import os, signal; os.kill(os.getpid(), signal.SIGABRT)";
    for (const [image, ...words] of [
      ["python:1", "-e", "A=b c", "-u", "redis", "--", "-c", python, "x y"],
      ["python:1", "-w", "/usr/lib/postgresql", "-u", "1:2", "--", "-c", python],
      ["python:1", "--", "-c", raise],
      ["node:1", "--", "-e", node, "--", "a", "b"],
      ["node:1", "--", "-e", "throw new Error('no')"],
    ] as const) {
      const [ours, theirs] = await both(image, ...words);
      expect([image, ours.code, ours.out]).toEqual([image, theirs.code, theirs.out]);
      expect(ours.err.replace(/node:internal.*/s, "")).toBe(theirs.err.replace(/node:internal.*/s, ""));
    }
  },
  120_000,
);

e2e(
  "nginx and redis serve, and end as their images and stop say",
  async () => {
    const ask =
      "import socket; s = socket.create_connection(('127.0.0.1', 80)); s.send(b'GET / HTTP/1.0\\r\\n\\r\\n'); head, body = s.makefile().read().split('\\n\\n', 1); print(head.split('\\n')[:2], body)";
    for (const [name, image, words, probe] of [
      ["web", "nginx:1", [], ["python3", "-c", ask]],
      [
        "cache",
        "redis:1",
        ["--appendonly", "yes"],
        ["sh", "-c", "set -e; redis-cli set k v; redis-cli get k; redis-cli config get appendonly; id; pwd; ls -a"],
      ],
    ] as const) {
      await n.ok(n.vps("run", "-d", "--name", name, image, ...words));
      expect((await d.docker("run", "-d", "--name", name, "--network", "none", image, ...words)).code).toBe(0);
      const ours = await n.until(
        () => n.vps("exec", name, "--", ...probe),
        (r) => r.code === 0,
      );
      const theirs = await n.until(
        () => d.docker("exec", name, ...probe),
        (r) => r.code === 0,
      );
      expect([name, ours.out]).toEqual([name, theirs.out]);
      await n.ok(n.vps("stop", name));
      await d.docker("stop", name);
      const code = Number((await d.docker("inspect", "-f", "{{.State.ExitCode}}", name)).out);
      expect([name, (await n.machine(name)).observed?.exitCode]).toEqual([name, code]);
    }
  },
  120_000,
);

e2e(
  "PostgreSQL makes its database in a volume, and finds it there again",
  async () => {
    // Neither the image nor Docker makes the directory that a volume is to be: it would be root's.
    const prepare = ["-u", "root", "-v", "pg:/var/lib/postgresql/data"];
    const own = ["chown", "postgres:", "/var/lib/postgresql/data"];
    await n.ok(n.vps("run", "--rm", ...prepare, "postgres:1", ...own));
    await d.docker("run", "--rm", "--network", "none", ...prepare, "postgres:1", ...own);
    for (const rows of ["1|/var/lib/postgresql/data\n", "1|/var/lib/postgresql/data\n2|/var/lib/postgresql/data\n"]) {
      const [ours, theirs] = await both("postgres:1", "-m", "1G", "-v", "pg:/var/lib/postgresql/data", "--");
      expect([ours.err, ours.code, ours.out, theirs.out]).toEqual([theirs.err, 0, rows, rows]);
    }
  },
  180_000,
);

e2e(
  "a systemd image is a machine of its own",
  async () => {
    await n.ok(n.vps("run", "-d", "--name", "init", "-m", "1G", "systemd:1").then((r) => r));
    await n.until(
      () => n.vps("exec", "init", "--", "systemctl", "is-active", "nginx", "redis-server", "postgresql"),
      (r) => r.out === "active\nactive\nactive\n",
      120_000,
    );
    expect((await n.vps("exec", "init", "--", "redis-cli", "ping")).out).toBe("PONG\n");
    await n.ok(n.vps("destroy", "-y", "init"));
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(n.home);
  },
  240_000,
);
