/**
 * Listens at a TAP, and says of each connection that is begun from whom it is, and the number it begins with (RFC 9293,
 * 3.4.1), less the clock in it: Linux counts one for each 64 ns (net/core/secure_seq.c).
 */
import { openTap } from "#agent/host/libc.ts";

const [ETHERNET, IP4, TCP, SYN] = [14, 0x0800, 6, 2];
const fd = openTap(process.argv[2]!);
const seen = new Set<string>();
console.log("listening");
for await (const frame of Bun.file(fd).stream() as unknown as AsyncIterable<Uint8Array>) {
  const now = BigInt(Date.now()) * 1_000_000n;
  const bytes = Buffer.from(frame);
  if (bytes.readUInt16BE(12) !== IP4 || bytes[ETHERNET + 9] !== TCP) continue;
  const tcp = ETHERNET + (bytes[ETHERNET]! & 15) * 4;
  if (bytes[tcp + 13] !== SYN) continue;
  const sequence = bytes.readUInt32BE(tcp + 4);
  const from = `${[...bytes.subarray(ETHERNET + 12, ETHERNET + 16)].join(".")}:${bytes.readUInt16BE(tcp)}`;
  // Those that nobody answers are sent again.
  if (seen.has(`${from} ${sequence}`)) continue;
  seen.add(`${from} ${sequence}`);
  console.log(JSON.stringify({ from, secret: (sequence - Number((now >> 6n) & 0xffffffffn)) >>> 0 }));
}
