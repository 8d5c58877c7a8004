/**
 * `bench-images`: an image of 12 layers from a registry on loopback to a file system that machines start from, against
 * skopeo + umoci + mkfs.erofs and against docker pull, each from nothing; and the converter's memory. Needs root,
 * docker-registry, skopeo, umoci, erofs-utils and docker.io.
 */
import { createReadStream, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { createTransfers, loadImage } from "#oci/transfer.ts";
import { openBlobs } from "#oci/blobs.ts";
import { createRegistry } from "#oci/client.ts";
import { parseReference } from "#contract/oci/reference.ts";
import { FRUGAL } from "#agent/host/run.ts";
import { startDocker } from "#tests/oci/docker.ts";
import { startRegistry, writeLayout } from "#tests/oci/peers.ts";
import { ROOT, sh } from "#scripts/sh.ts";
import { report } from "./report.ts";

const LAYERS = 12;
const LAYER_BYTES = 36 * 2 ** 20;
const ROUNDS = 3;

export async function benchImages(): Promise<void> {
  const dir = mkdtempSync(`${tmpdir()}/hl-bench-images-`);
  const registry = await startRegistry();
  const docker = await startDocker();
  try {
    const layers = await realFiles(dir);
    writeLayout(`${dir}/layout`, "v1", layers, { Cmd: ["/bin/true"] });
    const name = `${registry.host}/bench:v1`;
    await sh(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", `oci:${dir}/layout:v1`, `docker://${name}`]);
    const [ours, umoci, dockers, memory]: number[][] = [[], [], [], []];
    let image = 0;
    let bytes = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const mine = await pullAndConvert(`${dir}/ours-${round}`, name);
      ours!.push(mine.seconds);
      memory!.push(mine.peakMib);
      [image, bytes] = [mine.imageBytes, mine.bytes];
      umoci!.push(await timed(() => unpackAndPack(`${dir}/umoci-${round}`, name)));
      dockers!.push(await timed(async () => void (await docker.docker("pull", "-q", name))));
      await docker.docker("rmi", name);
      for (const part of ["ours", "umoci"]) rmSync(`${dir}/${part}-${round}`, { recursive: true, force: true });
    }
    const best = (list: number[] | undefined): number => Math.min(...list!);
    report([
      { name: `pull and convert ${Math.round(bytes / 1e6)} MB in ${LAYERS} layers, best of ${ROUNDS}`, value: best(ours), unit: "s" },
      { name: "skopeo copy, umoci unpack, mkfs.erofs -zlz4", value: best(umoci), unit: "s" },
      { name: "docker pull", value: best(dockers), unit: "s" },
      { name: "ours / skopeo + umoci + mkfs.erofs", value: best(ours) / best(umoci), unit: "", goal: { at: "most", value: 1 } },
      { name: "ours / docker pull", value: best(ours) / best(dockers), unit: "", goal: { at: "most", value: 1 } },
      { name: "the converter's peak memory", value: Math.max(...memory!), unit: "MiB", goal: { at: "most", value: 150 } },
      { name: "file system made / layers as they travel", value: image / bytes, unit: "" },
    ]);
  } finally {
    await docker.close();
    await registry.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The host's own programs and libraries: what images are made of. */
async function realFiles(dir: string): Promise<Buffer[]> {
  const files = (await sh(["find", "/usr", "-xdev", "-type", "f", "-size", "-8M", "-printf", "%s %P\n"]))
    .trim()
    .split("\n")
    .sort((a, b) => (a.slice(a.indexOf(" ")) < b.slice(b.indexOf(" ")) ? -1 : 1));
  const layers: Buffer[] = [];
  let list: string[] = [];
  let have = 0;
  for (const line of files) {
    const at = line.indexOf(" ");
    have += Number(line.slice(0, at));
    list.push(line.slice(at + 1));
    if (have < LAYER_BYTES) continue;
    await Bun.write(`${dir}/list`, list.join("\n"));
    layers.push(
      Buffer.from(Bun.spawnSync(["tar", "-C", "/usr", "--format=pax", "--numeric-owner", "-cf", "-", "-T", `${dir}/list`]).stdout),
    );
    [list, have] = [[], 0];
    if (layers.length === LAYERS) break;
  }
  return layers;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const from = performance.now();
  await work();
  return (performance.now() - from) / 1000;
}

async function pullAndConvert(dir: string, name: string): Promise<{ seconds: number; peakMib: number; imageBytes: number; bytes: number }> {
  mkdirSync(dir, { recursive: true });
  const from = performance.now();
  const reference = parseReference(name)!;
  const blobs = openBlobs(`${dir}/blobs`);
  const { digest, bytes } = await createTransfers(blobs).pull(
    createRegistry({ base: `http://${reference.registry}` }),
    reference,
    "linux/amd64",
    () => {},
  );
  const { manifest, config } = loadImage(blobs, digest, name);
  const layers = manifest.layers.map((l, i) => ({ digest: l.digest, diffId: config.rootfs.diff_ids[i]!, size: l.size }));
  const fd = openSync(`${dir}/image.erofs`, "w");
  const child = Bun.spawn([`${ROOT}/build/hyperlane`, "hyperlane", "convert"], {
    stdin: "pipe",
    stdout: fd,
    stderr: "pipe",
    env: { ...process.env, ...FRUGAL },
  });
  let peakMib = 0;
  // What it says of itself: the kernel's count for a child includes what it was before it became that program.
  const watch = setInterval(() => {
    const peak = /VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
    if (peak) peakMib = Number(peak) / 1024;
  }, 20);
  child.stdin.write(
    `${JSON.stringify({ id: digest, layers, keepAll: false, compress: true, maxBytes: 2 ** 40, maxEntries: 1_000_000 })}\n`,
  );
  for (const l of layers.toReversed())
    for await (const piece of createReadStream(blobs.path(l.digest), { highWaterMark: 256 * 1024 })) {
      child.stdin.write(piece as Buffer);
      await child.stdin.flush();
    }
  await child.stdin.end();
  clearInterval(watch);
  if ((await child.exited) !== 0) throw new Error(await new Response(child.stderr).text());
  closeSync(fd);
  const seconds = (performance.now() - from) / 1000;
  return { seconds, peakMib, imageBytes: statSync(`${dir}/image.erofs`).size, bytes };
}

async function unpackAndPack(dir: string, name: string): Promise<void> {
  mkdirSync(dir, { recursive: true });
  await sh(["skopeo", "copy", "--quiet", "--src-tls-verify=false", `docker://${name}`, `oci:${dir}/oci:v1`]);
  await sh(["umoci", "unpack", "--image", `${dir}/oci:v1`, `${dir}/bundle`]);
  await sh(["mkfs.erofs", "-zlz4", "--quiet", `${dir}/image.erofs`, `${dir}/bundle/rootfs`]);
}
