/**
 * The one executable, with `vps` and `hyperlane-agent` as names of it and the web UI inside. `build` makes build/hyperlane, which
 * takes the guest's files from build/guest; `release` makes build/release/hyperlane with kernel, initramfs and image inside.
 */
import { existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { GUEST_FILES } from "#host/place.ts";
import { ROOT, sh, step } from "./sh.ts";
import { buildGuest, OUT } from "./guest.ts";
import { buildKernel } from "./kernel.ts";
import { buildWeb, WEB } from "./web.ts";

export async function buildExecutable(): Promise<void> {
  await compile(`${ROOT}/build`, []);
}

export async function buildRelease(): Promise<void> {
  if (!existsSync(`${OUT}/vmlinux.config`)) await buildKernel();
  await buildGuest();
  mkdirSync(`${ROOT}/build/release`, { recursive: true });
  await step("executable", () =>
    compile(
      `${ROOT}/build/release`,
      GUEST_FILES.map((f) => `--asset=${OUT}/${f}`),
    ),
  );
}

/** more: flags that put files inside; the program finds them by name below /$bunfs/root. */
async function compile(out: string, more: string[]): Promise<void> {
  await buildWeb();
  const assets = [`--asset=${WEB}`, ...more];
  const flags = ["--compile", "--bytecode", "--minify", "--format=esm", "--splitting"];
  await sh([process.execPath, "build", ...flags, ...assets, `${ROOT}/main.ts`, "--outfile", `${out}/hyperlane`]);
  for (const name of ["vps", "hyperlane-agent"]) {
    rmSync(`${out}/${name}`, { force: true });
    symlinkSync("hyperlane", `${out}/${name}`);
  }
}
