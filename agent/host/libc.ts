/** The few calls of the C library that the runtime does not offer. The door to foreign functions. */
import { dlopen, ptr } from "bun:ffi";
import { HyperlaneError } from "#contract/errors.ts";

const open = () =>
  dlopen("libc.so.6", {
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    fcntl: { args: ["i32", "i32", "u64"], returns: "i32" },
    lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  }).symbols;
let opened: ReturnType<typeof open> | undefined;
const libc = (): ReturnType<typeof open> => (opened ??= open());

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, SHRINK, GROW and WRITE: fcntl(2). */
const ALL_SEALS = 0xf;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** An open file that is memory and nothing else: memfd_create(2). */
export function createMemory(name: string): number {
  const fd = libc().memfd_create(ptr(Buffer.from(`${name}\0`)), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new HyperlaneError("UNSUPPORTED", "This host gives no memory to share (memfd_create).");
  return fd;
}

/** Nobody writes to it or changes its size from now on, not even who may open it to write. */
export function seal(fd: number): void {
  if (libc().fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0) throw new HyperlaneError("UNSUPPORTED", "Memory cannot be sealed on this host.");
}

/** Where a sparse file has data: lseek(2), SEEK_DATA and SEEK_HOLE. Byte ranges [from, to). */
export function* dataRanges(fd: number, size: number): Generator<[from: number, to: number]> {
  for (let at = 0; at < size;) {
    const from = Number(libc().lseek(fd, at, SEEK_DATA));
    if (from < 0) return;
    at = Number(libc().lseek(fd, from, SEEK_HOLE));
    if (at < 0) at = size;
    yield [from, at];
  }
}
