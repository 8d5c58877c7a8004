/**
 * What it costs to have a container from Hyperlane and not from its engine: the same engine, the same image, in turn. Needs
 * root and build/hyperlane; a node and an engine of its own are made and removed.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { makeImage } from "#tests/e2e/image.ts";
import { startNode } from "#tests/e2e/node.ts";
import { startDocker, whyNoDocker } from "#tests/oci/docker.ts";
import { interleaved, report } from "./report.ts";

const ROUNDS = 15;

export async function benchContainers(): Promise<void> {
  const why = await whyNoDocker();
  if (why) throw new Error(`There is no docker to compare with: ${why}`);
  const dir = mkdtempSync(`${tmpdir()}/hl-docker-`);
  const n = await startNode("containers", ["--docker", `${dir}/docker.sock`], { built: true });
  const d = await startDocker({ dir, enter: n.pidOf("agent") });
  try {
    await makeImage(n, "box:1", { Cmd: ["/bin/sh"] });
    await Bun.$`tar -C ${n.home}/root-box:1 -cf ${n.home}/box.tar .`.quiet();
    await d.docker("import", `${n.home}/box.tar`, "box:1");
    await n.until(
      async () => (await n.vps("node", "list", "--json")).out,
      (out) => out.includes('"docker"'),
    );
    const ours = async (...words: string[]): Promise<void> => void (await n.ok(n.vps(...words)));
    const theirs = async (...words: string[]): Promise<void> => void (await n.ok(d.docker(...words)));
    await ours("run", "--rm", "--runtime", "docker", "box:1", "true");
    await ours("run", "-d", "--runtime", "docker", "--name", "up", "box:1", "sleep", "100000");
    await theirs("run", "-d", "--network", "none", "--name", "up", "box:1", "sleep", "100000");
    const ms = await interleaved(ROUNDS, {
      ours: () => ours("run", "--rm", "--runtime", "docker", "box:1", "echo", "hi"),
      theirs: () => theirs("run", "--rm", "--network", "none", "box:1", "echo", "hi"),
      exec: () => ours("exec", "up", "--", "true"),
      dockerExec: () => theirs("exec", "up", "true"),
    });
    report([
      { name: "vps run --rm --runtime docker busybox echo hi, whole command", value: ms.ours!, unit: "ms" },
      { name: "docker run --rm --network none, the same", value: ms.theirs!, unit: "ms" },
      { name: "vps run --runtime docker / docker run", value: ms.ours! / ms.theirs!, unit: "", goal: { at: "most", value: 1.5 } },
      { name: "vps exec in it", value: ms.exec!, unit: "ms" },
      { name: "docker exec", value: ms.dockerExec!, unit: "ms" },
      { name: "vps exec / docker exec", value: ms.exec! / ms.dockerExec!, unit: "", goal: { at: "most", value: 1 } },
    ]);
  } finally {
    await n.close();
    await d.close();
  }
}
