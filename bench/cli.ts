/** How long the CLI takes to start, whole process, beside docker's. Needs build/hyperlane and a running control plane for `vps list`. */
import { ROOT } from "#scripts/sh.ts";
import { interleaved, report, type Measure } from "./report.ts";

const vps = `${ROOT}/build/vps`;
const quiet = (argv: string[]) => async (): Promise<void> => {
  const child = Bun.spawn(argv, { stdio: ["ignore", "ignore", "ignore"] });
  if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")} failed`);
};
const works = (argv: string[]): Promise<boolean> =>
  quiet(argv)().then(
    () => true,
    () => false,
  );

export async function benchCli(): Promise<void> {
  const docker = Bun.which("docker");
  if (!docker) throw new Error("There is no docker to compare with: apt-get install docker.io");
  const version = await interleaved(41, { vps: quiet([vps, "version"]), docker: quiet([docker, "--version"]) });
  const measures: Measure[] = [
    { name: "vps version", value: version.vps!, unit: "ms" },
    { name: "docker --version", value: version.docker!, unit: "ms" },
    { name: "vps version / docker --version", value: version.vps! / version.docker!, unit: "", goal: { at: "most", value: 1 } },
  ];
  if (!(await works([vps, "list"]))) process.stderr.write("vps list is left out: no control plane answers.\n");
  else {
    // Without a daemon `docker ps` fails; its start alone is then the stricter peer.
    const peer = (await works([docker, "ps"])) ? "ps" : "--version";
    const list = await interleaved(41, { vps: quiet([vps, "list"]), docker: quiet([docker, peer]) });
    measures.push(
      { name: "vps list", value: list.vps!, unit: "ms" },
      { name: `docker ${peer}`, value: list.docker!, unit: "ms" },
      { name: `vps list / docker ${peer}`, value: list.vps! / list.docker!, unit: "", goal: { at: "most", value: 1 } },
    );
  }
  report(measures);
}
