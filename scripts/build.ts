/** build/hyperlane: the one executable, with `vps` and `hyperlane-agent` as names of it. */
import { rmSync, symlinkSync } from "node:fs";
import { ROOT, sh } from "./sh.ts";

export async function buildExecutable(): Promise<void> {
  const out = `${ROOT}/build`;
  await sh([
    process.execPath,
    "build",
    "--compile",
    "--bytecode",
    "--minify",
    "--format=esm",
    "--splitting",
    `${ROOT}/main.ts`,
    "--outfile",
    `${out}/hyperlane`,
  ]);
  for (const name of ["vps", "hyperlane-agent"]) {
    rmSync(`${out}/${name}`, { force: true });
    symlinkSync("hyperlane", `${out}/${name}`);
  }
}
