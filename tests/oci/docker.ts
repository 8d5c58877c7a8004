/** Debian's Docker engine in folders of its own, on no network: the peer that runs the same images. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";

export async function whyNoDocker(): Promise<string | null> {
  if (process.getuid?.() !== 0) return "it needs root";
  return Bun.which("dockerd", { PATH: "/usr/sbin:/usr/bin" }) ? null : "docker.io is not installed";
}

/** dir: where all of it is. enter: a process whose mounts it sees, as an agent's. */
export async function startDocker({ dir = mkdtempSync(`${tmpdir()}/hl-docker-`), enter }: { dir?: string; enter?: number } = {}) {
  const socket = `unix://${dir}/docker.sock`;
  const folders = ["--data-root", `${dir}/data`, "--exec-root", `${dir}/exec`, "-p", `${dir}/pid`, "-H", socket];
  const way = enter === undefined ? [] : ["nsenter", `--mount=/proc/${enter}/ns/mnt`, "--"];
  if (enter !== undefined) {
    // Control groups that other tests have carried elsewhere: the daemon would take the first that it sees for its own.
    const mounts = readFileSync(`/proc/${enter}/mountinfo`, "utf8").split("\n");
    const strays = mounts.flatMap((line) => /^\S+ \S+ \S+ \S+ (\/run\/hl-cgroups-[^/ ]+) /.exec(line)?.[1] ?? []);
    for (const at of new Set(strays)) await Bun.$`${way} umount -R -l ${at}`.quiet().nothrow();
  }
  const daemon = Bun.spawn([...way, "dockerd", ...folders, "--bridge=none", "--iptables=false"], {
    stdout: "ignore",
    stderr: Bun.file(`${dir}/log`),
  });
  const docker = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    const child = Bun.spawn(["docker", "-H", socket, ...args], { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
    const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
    return { code, out, err };
  };
  for (const deadline = Date.now() + 30_000; (await docker("version")).code !== 0; await Bun.sleep(100))
    if (Date.now() > deadline || daemon.exitCode !== null)
      throw new Error(`dockerd did not start: ${existsSync(`${dir}/log`) ? readFileSync(`${dir}/log`, "utf8").slice(-500) : ""}`);
  return {
    docker,
    /** The daemon alone; what it started goes on, as far as it does without. */
    async kill(): Promise<void> {
      const containerd = Number(readFileSync(`${dir}/exec/containerd/containerd.pid`, "utf8"));
      daemon.kill("SIGKILL");
      await daemon.exited;
      // It is taken along, and a new daemon would wait for it in vain.
      for (let i = 0; i < 500 && existsSync(`/proc/${containerd}`); i++) await Bun.sleep(10);
      rmSync(`${dir}/pid`, { force: true });
    },
    async close(): Promise<void> {
      daemon.kill();
      await daemon.exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
