/** A small real machine: our kernel, our init, and busybox in an initramfs, so that there are commands to run. */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { kernelCommandLine } from "#runtimes/command.ts";
import { tscKhz } from "#agent/host/probe.ts";

const OUT = `${import.meta.dirname}/../../build/guest`;
export const WHY_NO_GUEST = !existsSync(`${OUT}/vmlinux`)
  ? "build/guest is missing: run scripts/main.ts guest"
  : existsSync("/bin/busybox")
    ? null
    : "busybox-static is not installed";

/** dir: where its files are made. */
export async function makeGuest(dir: string) {
  const root = `${dir}/initramfs`;
  mkdirSync(`${root}/bin`, { recursive: true });
  cpSync("/bin/busybox", `${root}/bin/busybox`);
  for (const name of ["sh", "sleep", "echo", "head", "cat", "uname"]) await Bun.$`ln -s busybox ${root}/bin/${name}`.quiet();
  // The kernel unpacks one archive after the other (docs, initramfs buffer format).
  const more = await Bun.$`cd ${root} && find . | cpio -o -H newc --quiet`.quiet().arrayBuffer();
  writeFileSync(`${dir}/initrd`, Buffer.concat([readFileSync(`${OUT}/initramfs`), Buffer.from(more)]));
  return { kernelImagePath: `${OUT}/vmlinux`, initrdPath: `${dir}/initrd`, kernelArgs: kernelCommandLine({ tscKhz: tscKhz() }) };
}
