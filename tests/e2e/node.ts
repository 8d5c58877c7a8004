/** A real node for a test: control plane and agent in a network namespace of their own, run from source. Needs root and build/guest. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Machine } from "#contract/resources/machine.ts";

export const ROOT = join(import.meta.dirname, "../..");
export const WHY_NOT =
  process.getuid?.() !== 0
    ? "it needs root"
    : !existsSync(`${ROOT}/build/guest/debian-12.tar`)
      ? "build/guest is missing: run scripts/main.ts guest"
      : null;

export type Ran = { code: number; out: string; err: string };
export type TestNode = Awaited<ReturnType<typeof startNode>>;

let probed: string | undefined;

/**
 * built: the executable runs, and not the source. wire: before it starts, with the name of its network namespace. join: it becomes a
 * node of another's control plane, by this word.
 */
export async function startNode(
  name: string,
  init: string[] = [],
  { built = false, wire, join: word }: { built?: boolean; wire?: (ns: string) => Promise<unknown>; join?: string } = {},
) {
  const ns = `hl-${name}-${process.pid}`;
  const home = mkdtempSync(join(tmpdir(), `hl-${name}-`));
  chmodSync(home, 0o711); // the VMMs run as users of their own
  const env = { PATH: process.env.PATH!, HOME: home, HYPERLANE_DIR: `${home}/state`, LC_ALL: "C" };

  async function sh(argv: string[], input?: string): Promise<Ran> {
    const stdin = input === undefined ? "ignore" : Buffer.from(input);
    const child = Bun.spawn(["ip", "netns", "exec", ns, ...argv], { env, cwd: home, stdin, stdout: "pipe", stderr: "pipe" });
    const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
    return { code, out, err };
  }
  const source = [process.execPath, `${ROOT}/main.ts`];
  const argvOf = (what: "vps" | "hyperlane"): string[] => (built ? [`${ROOT}/build/hyperlane`, what] : [...source, what]);
  const vps = (...args: string[]): Promise<Ran> => sh([...argvOf("vps"), ...args]);
  // `ip netns exec` shows a sysfs of its own, without the host's control groups: they are carried over, so that limits are real.
  const cgroups = `/run/hl-cgroups-${name}-${process.pid}`;
  const program = argvOf("hyperlane");
  const host = (...args: string[]): Promise<Ran> =>
    sh(["sh", "-c", `mount --rbind ${cgroups} /sys/fs/cgroup 2>/dev/null; exec "$@"`, "sh", ...program, ...args]);
  const ok = async (result: Promise<Ran>): Promise<string> => {
    const { code, out, err } = await result;
    if (code !== 0) throw new Error(`exit ${code}\n${out}${err}`);
    return out;
  };
  const machine = async (m: string): Promise<Machine> => JSON.parse(await ok(vps("show", m, "--json"))) as Machine;
  /** The process of a role, below the one that starts it again. */
  const pidOf = (role: "serve" | "agent"): number => {
    const { pid } = JSON.parse(readFileSync(`${home}/state/${role}.pid`, "utf8")) as { pid: number };
    const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
    // Nobody is to be signalled in its place: 0 would be all of us.
    if (!child) throw new Error(`${role} does not run just now`);
    return child;
  };
  /** Ends it, once it runs: it may just be about to be started again. */
  const kill = async (role: "serve" | "agent"): Promise<void> => {
    for (const deadline = Date.now() + 30_000; ; await Bun.sleep(50)) {
      try {
        return void process.kill(pidOf(role), "SIGKILL");
      } catch (thrown) {
        if (Date.now() > deadline) throw thrown;
      }
    }
  };

  const limits =
    (await Bun.$`mkdir ${cgroups} && mount --rbind /sys/fs/cgroup ${cgroups} && mount --make-rslave ${cgroups}`.quiet().nothrow())
      .exitCode === 0;
  if (!limits) console.log(`SKIP tests/e2e/${name}, limits only: control groups cannot be carried into a network namespace here`);
  await Bun.$`ip netns add ${ns} && ip -n ${ns} link set lo up`.quiet();
  // What the first node of this run found out by booting a kernel, the others need not find out again.
  if (probed !== undefined) {
    mkdirSync(`${home}/state`, { mode: 0o711 });
    writeFileSync(`${home}/state/accelerator.json`, probed);
  }
  await wire?.(ns);
  await ok(host(...(word === undefined ? ["init"] : ["join", word]), "--guest", `${ROOT}/build/guest`, "--cpus", "8", ...init));
  for (const deadline = Date.now() + 30_000; !existsSync(`${home}/state/accelerator.json`) && Date.now() < deadline;) await Bun.sleep(50);
  probed ??= readFileSync(`${home}/state/accelerator.json`, "utf8");
  return {
    ns,
    env,
    limits,
    home,
    state: `${home}/state`,
    sh,
    vps,
    host,
    ok,
    machine,
    pidOf,
    kill,
    /** Until it holds; what it last saw is in the error. */
    async until<T>(look: () => Promise<T>, holds: (seen: T) => boolean, limitMs = 60_000): Promise<T> {
      for (const deadline = Date.now() + limitMs; ; await Bun.sleep(100)) {
        const seen = await look();
        if (holds(seen)) return seen;
        if (Date.now() > deadline)
          throw new Error(
            `still ${JSON.stringify(seen)}\n${(await vps("list", "--json")).out}\n${(await sh(["tail", "-n", "15", `${home}/state/log/agent.log`, `${home}/state/log/serve.log`])).out}`,
          );
      }
    },
    /** Uninstalls, and says what that leaves on the host. */
    async close(): Promise<string[]> {
      const { node } = JSON.parse(readFileSync(`${home}/state/agent.json`, "utf8")) as { node: string };
      await ok(host("uninstall", "--yes"));
      const left = (await sh(["ip", "-br", "link"])).out.split("\n").filter((l) => /^(hl-|hyperlane)/.test(l));
      left.push(...(await sh(["nft", "list", "tables"])).out.split("\n").filter((l) => l.includes("hyperlane")));
      left.push(...(await sh(["pgrep", "-fa", `${node}/m-`])).out.split("\n").filter((l) => l && !l.includes("pgrep")));
      left.push(
        ...[`${home}/state`, `/run/hyperlane/${node}`, `/run/hyperlane/${node}-folders`, `${home}/.config/hyperlane/config.json`].filter(
          existsSync,
        ),
      );
      left.push(...(await Bun.$`find /sys/fs/cgroup -name ${`${node}.m-*`}`.text()).split("\n").filter(Boolean));
      await Bun.$`ip netns del ${ns} `.quiet();
      await Bun.$`umount -R ${cgroups}; rmdir ${cgroups}`.quiet().nothrow();
      rmSync(home, { recursive: true, force: true });
      return left;
    },
  };
}
