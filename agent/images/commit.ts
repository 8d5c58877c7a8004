/**
 * What a machine's writable layer holds, as an OCI layer: the overlay's upper directory as a tar archive, its deletions
 * as white-outs (overlayfs.rst, "whiteouts and opaque directories"; OCI layer.md). The disk is a copy, mounted
 * without devices, set-uid or execution; nothing in it is followed.
 */
import { dlopen, FFIType } from "bun:ffi";
import { lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { run, runStreaming } from "#agent/host/run.ts";

/** Of the machine and not of what was made in it. */
const EXCLUDED = [
  "etc/machine-id",
  "etc/resolv.conf",
  "etc/hosts",
  "etc/hostname",
  "var/lib/dbus/machine-id",
  "var/lib/systemd/random-seed",
  "root/.bash_history",
];

/** work: a directory for this, removed afterwards. exportDisk: puts a copy of the disk at a path. */
export async function* commitLayer(work: string, exportDisk: (to: string) => Promise<void>): AsyncGenerator<Uint8Array> {
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rmSync(work, { recursive: true, force: true }));
  for (const sub of ["disk", "gone"]) mkdirSync(`${work}/${sub}`, { recursive: true, mode: 0o700 });
  await exportDisk(`${work}/disk.raw`);
  await run(["mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noexec", `${work}/disk.raw`, `${work}/disk`]);
  undo.defer(async () => void (await run(["umount", `${work}/disk`])));
  const { kept, gone } = listUpper(`${work}/disk/upper`);
  for (const path of gone) {
    mkdirSync(`${work}/gone/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    writeFileSync(`${work}/gone/${path}`, "");
  }
  writeFileSync(`${work}/kept.list`, kept.join("\0"), "latin1");
  writeFileSync(`${work}/gone.list`, gone.join("\0"), "latin1");
  const names = ["--no-recursion", "--null", "--verbatim-files-from"];
  const attributes = ["--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*"];
  const from = (dir: string, list: string): string[] => ["-C", `${work}/${dir}`, "-T", `${work}/${list}`];
  yield* runStreaming(["tar", "-cf", "-", ...attributes, ...names, ...from("disk/upper", "kept.list"), ...from("gone", "gone.list")]);
}

/** Paths as byte strings. gone: as the white-out files that stand for them. */
function listUpper(upper: string): { kept: string[]; gone: string[] } {
  const kept: string[] = [];
  const gone: string[] = [];
  const visit = (path: string): void => {
    for (const raw of readdirSync(Buffer.from(`${upper}/${path}`, "latin1"), { encoding: "buffer" })) {
      const name = raw.toString("latin1");
      const at = path ? `${path}/${name}` : name;
      if (EXCLUDED.includes(at)) continue;
      const full = Buffer.from(`${upper}/${at}`, "latin1");
      const stat = lstatSync(full);
      if (stat.isCharacterDevice() && stat.rdev === 0) {
        gone.push(path ? `${path}/.wh.${name}` : `.wh.${name}`);
        continue;
      }
      kept.push(at);
      if (!stat.isDirectory()) continue;
      if (isOpaque(full)) gone.push(`${at}/.wh..wh..opq`);
      visit(at);
    }
  };
  visit("");
  return { kept, gone };
}

function loadLibc() {
  const lgetxattr = { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64], returns: FFIType.i64 } as const;
  return dlopen("libc.so.6", { lgetxattr }).symbols;
}
let libc: ReturnType<typeof loadLibc> | undefined;

function isOpaque(path: Buffer): boolean {
  libc ??= loadLibc();
  const value = Buffer.alloc(16);
  const n = libc.lgetxattr(Buffer.concat([path, Buffer.alloc(1)]), Buffer.from("trusted.overlay.opaque\0"), value, value.length);
  return Number(n) === 1 && value[0] === 0x79; // "y"
}
