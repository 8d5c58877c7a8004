/** Networks on a real node: who reaches whom, by name and by address, over both families; with and without br_netfilter's help. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { startNode, type TestNode } from "./node.ts";

if (NO_BUSYBOX) console.log(`SKIP tests/e2e/networks: ${NO_BUSYBOX}`);
const e2e = test.skipIf(NO_BUSYBOX !== null);
const SERVE = "mkdir /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w";

let n: TestNode;
const inside = (name: string, line: string) => n.vps("exec", name, "--", "sh", "-c", line);
/** What a machine reads from an HTTP server, without relying on names of its own. */
const get = async (from: string, host: string, port: number) =>
  (await inside(from, `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${host} ${port} 2>/dev/null | tail -1`)).out.trim();

beforeAll(async () => {
  if (NO_BUSYBOX) return;
  n = await startNode("networks");
  await makeImage(n, "box", { Cmd: ["sh"] });
  for (const [name, ...flags] of [["front"], ["back"], ["vault", "--internal"]]) await n.ok(n.vps("network", "create", name!, ...flags));
  const run = (name: string, ...flags: string[]) =>
    n.ok(n.vps("run", "-d", "--name", name, "-m", "128M", ...flags, "box:1", "sh", "-c", SERVE));
  await Promise.all([
    run("a", "--network", "front"),
    run("b", "--network", "front", "--network", "back", "--network-alias", "middle"),
    run("c", "--network", "back", "--network-alias", "db"),
    run("d", "--network", "none"),
    run("e", "--network", "vault", "-p", "18070:80"),
  ]);
}, 120_000);
afterAll(async () => {
  if (!NO_BUSYBOX) expect(await n.close()).toEqual([]);
}, 60_000);

const MEETS: Record<string, string> = { a: "ab", b: "abc", c: "bc", d: "", e: "e" };

for (const filtered of [0, 1])
  e2e(
    `machines of one network meet, others do not${filtered ? ", also where the host's rules see what its bridge passes on" : ""}`,
    async () => {
      const set = await n.sh([
        "sysctl",
        "-qw",
        `net.bridge.bridge-nf-call-iptables=${filtered}`,
        `net.bridge.bridge-nf-call-ip6tables=${filtered}`,
      ]);
      if (set.code !== 0) return console.log("SKIP tests/e2e/networks, with br_netfilter only: the host has not loaded it");
      const machines = await Promise.all([..."abcde"].map((name) => n.machine(name)));
      const seen: Record<string, string[]> = {};
      await Promise.all(
        machines.map(async ({ name }) => {
          const others = machines.filter((m) => m.name !== name);
          const ways = others.flatMap((to) => [
            `${to.name} -4 ${to.observed!.address4}`,
            `${to.name} -6 ${to.observed!.address6}`,
            // One that reaches nobody would wait for a resolver that it does not reach either.
            ...(name === "d" ? [] : [`${to.name} -4 ${to.name}.internal`, `${to.name} -6 ${to.name}.internal`]),
          ]);
          const tries = ways.map((way) => `(ping -c1 -W3 ${way.slice(2)} >/dev/null 2>&1 && echo ${way[0]}) &`);
          const { out } = await inside(name, `${tries.join(" ")} wait`);
          const met = Map.groupBy(out.trim(), (letter) => letter);
          met.delete("\n");
          seen[name] = [...met].map(([to, times]) => (times.length === 4 ? to : `${to} in ${times.length} ways`)).sort();
        }),
      );
      for (const from of "abcde") expect([from, seen[from]]).toEqual([from, [...MEETS[from]!].filter((m) => m !== from)]);
      const gateway = "10.77.0.1";
      // A published port is for everybody: what asks from a machine goes out and comes back through the host.
      expect([
        await get("a", gateway, 18070),
        await get("d", gateway, 18070),
        await get("a", machines[4]!.observed!.address4!, 80),
      ]).toEqual(["e", "", ""]);
      expect((await n.sh(["curl", "-s", "--max-time", "3", "http://127.0.0.1:18070/"])).out).toBe("e\n");
    },
    120_000,
  );

e2e(
  "aliases, both ways of a name, and no way out of an internal network, not even for names",
  async () => {
    const lookup = async (from: string, name: string) => (await inside(from, `nslookup ${name} 2>&1 | tail -n +4`)).out;
    const { address4, address6 } = (await n.machine("b")).observed!;
    expect(await lookup("c", "middle.internal")).toContain(address4!);
    expect((await inside("c", "ping -6 -c1 -W2 middle.internal")).out).toContain(address6!);
    expect(await lookup("a", "db.internal")).toContain("NXDOMAIN");
    expect(await lookup("a", address4!)).toContain("name = b.internal");
    expect(await lookup("e", address4!)).not.toContain("internal");
    expect(await lookup("e", "example.org")).toContain("REFUSED");
    // Machines may share an alias.
    await n.ok(n.vps("network", "connect", "--alias", "db", "back", "a"));
    expect((await lookup("b", "db.internal")).match(/Address: 10\./g)?.length).toBe(2);
    expect((await inside("c", "ping -c1 -W2 a.internal")).code).toBe(0);
    await n.ok(n.vps("network", "disconnect", "back", "a"));
    expect((await inside("c", "ping -c1 -W2 a.internal")).code).not.toBe(0);
    expect((await inside("b", "ping -c1 -W2 a.internal")).code).toBe(0);
    expect((await n.vps("network", "rm", "front")).err).toContain("is used by a, b");
  },
  60_000,
);
