/** What an Ethernet frame is about, as far as it takes to know whether it is for a machine that sleeps. Pure. */
import { bytes4, bytes6 } from "#contract/wire/config.ts";
import type { Addresses } from "./plan.ts";

const HEAD = 14;
const [IP4, ARP, IP6] = [0x0800, 0x0806, 0x86dd];
const ARP_BYTES = 28;
const ARP_REQUEST = 1;
const IP6_HEAD = 40;
const ICMP6 = 58;
const NEIGHBOR_SOLICITATION = 135;

/** Frames that were read one behind the other: each says how long it is. What is none of these protocols ends it. */
export function splitFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at + HEAD + IP6_HEAD / 2 <= bytes.length;) {
    const type = bytes.readUInt16BE(at + 12);
    const length =
      type === IP4 ? bytes.readUInt16BE(at + 16) : type === ARP ? ARP_BYTES : type === IP6 ? IP6_HEAD + bytes.readUInt16BE(at + 18) : 0;
    if (!length || at + HEAD + length > bytes.length) return [...frames, bytes.subarray(at)];
    frames.push(bytes.subarray(at, at + HEAD + length));
    at += HEAD + length;
  }
  return frames;
}

/** A packet to it, or the question who has its address (ARP; RFC 4861 section 4.3). What goes to everybody is no call. */
export function isFor({ address4, address6, linkLocal }: Addresses, frame: Buffer): boolean {
  const is = (at: number, address: number[]): boolean =>
    frame.length >= at + address.length && address.every((b, i) => frame[at + i] === b);
  const [ip4, ip6s] = [bytes4(address4), [bytes6(address6), bytes6(linkLocal)]];
  if (frame.length < HEAD + ARP_BYTES) return false;
  const type = frame.readUInt16BE(12);
  if (type === IP4) return is(HEAD + 16, ip4);
  if (type === ARP) return frame.readUInt16BE(HEAD + 6) === ARP_REQUEST && is(HEAD + 24, ip4);
  if (type !== IP6) return false;
  const asks = frame[HEAD + 6] === ICMP6 && frame[HEAD + IP6_HEAD] === NEIGHBOR_SOLICITATION;
  return ip6s.some((a) => is(HEAD + 24, a) || (asks && is(HEAD + IP6_HEAD + 8, a)));
}
