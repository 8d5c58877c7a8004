/** The few calls of the C library that the runtime does not offer. The door to foreign functions. */
import { dlopen, ptr } from "bun:ffi";
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";

const open = () =>
  dlopen("libc.so.6", {
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    fcntl: { args: ["i32", "i32", "u64"], returns: "i32" },
    ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
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
/** linux/if_tun.h */
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
/** linux/if_packet.h, sockaddr_ll; protocols are in network order. */
const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCKADDR_LL_BYTES = 20;

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

/** Takes a TAP that is there and that nobody has: what is sent to the machine is then read here, one frame a read. */
export function openTap(name: string): number {
  const fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name);
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
  // Who had it before may have promised to add checksums, which frames read here would then lack.
  if (libc().ioctl(fd, TUNSETIFF, ptr(request)) === 0 && libc().ioctl(fd, TUNSETOFFLOAD, null) === 0) return fd;
  closeSync(fd);
  throw new HyperlaneError("FAILED", `The interface ${name} cannot be listened at.`);
}

/** Sends Ethernet frames out of an interface, as packet(7) has it. */
export function sendFrames(name: string, frames: readonly Uint8Array[]): void {
  const fd = libc().socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) throw new HyperlaneError("FAILED", `Nothing can be sent out of ${name}.`);
  try {
    const to = Buffer.alloc(SOCKADDR_LL_BYTES);
    to.writeUInt16LE(AF_PACKET, 0);
    to.writeInt32LE(Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8")), 4);
    for (const frame of frames) libc().sendto(fd, ptr(frame), frame.length, 0, ptr(to), to.length);
  } finally {
    closeSync(fd);
  }
}
