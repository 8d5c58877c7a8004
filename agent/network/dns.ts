/** The machines' resolver, on the bridge's gateway addresses: NAME.internal from what runs here, the rest from the host's own servers. */
import { createSocket, type Socket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createConnection, createServer, isIPv6, type Server } from "node:net";
import { decode, encode, type Answer, type Packet } from "dns-packet";
import { bytes6 } from "#contract/wire/config.ts";

export const ZONE = "internal";
const TTL_S = 5;
const SERVFAIL = 2;
const REFUSED = 5;
const UPSTREAM_TIMEOUT_MS = 5_000;

/** networks: by number, with the other names that it has there. */
export type Named = {
  name: string;
  address4: string;
  address6: string;
  networks: { number: number; internal: boolean; aliases: string[] }[];
};
export type Names = () => Iterable<Named>;

/** What a machine is called by one that asks, which hears of those alone that it shares a network with. Itself comes first. Pure. */
function namesFor(asker: Named | undefined, m: Named): string[] {
  if (!asker) return [m.name, ...m.networks.flatMap((n) => n.aliases)];
  const shared = m.networks.filter((n) => asker.networks.some((x) => x.number === n.number));
  return shared.length || asker.name === m.name ? [m.name, ...shared.flatMap((n) => n.aliases)] : [];
}

/** Our own answer, or undefined when the question is not about our zone or addresses. from: who asks; the host itself hears all names. Pure. */
export function resolve(query: Packet, names: Names, from?: string): Packet | undefined {
  const question = query.questions?.[0];
  if (!question) return undefined;
  const asked = question.name.toLowerCase().replace(/\.$/, "");
  const reverse = asked.endsWith(".arpa");
  if (!reverse && asked !== ZONE && !asked.endsWith(`.${ZONE}`)) return undefined;
  const answers: Answer[] = [];
  let known = false;
  const all = [...names()];
  const asker = from === undefined ? undefined : askerOf(all, from);
  for (const m of all) {
    const called = namesFor(asker, m);
    if (!called.length) continue;
    if (reverse) {
      if (asked === reverseOf(m.address4) || asked === reverseOf(m.address6))
        answers.push({ name: question.name, type: "PTR", ttl: TTL_S, data: `${m.name}.${ZONE}` });
      continue;
    }
    if (!called.some((name) => asked === `${name}.${ZONE}`)) continue;
    known = true;
    if (question.type === "A") answers.push({ name: question.name, type: "A", ttl: TTL_S, data: m.address4 });
    if (question.type === "AAAA") answers.push({ name: question.name, type: "AAAA", ttl: TTL_S, data: m.address6 });
  }
  if (reverse && !answers.length) return undefined;
  const NXDOMAIN = 3;
  const AA = 1 << 10;
  const RD_RA = (1 << 8) | (1 << 7);
  return {
    type: "response",
    id: query.id,
    flags: AA | RD_RA | (known || reverse || asked === ZONE ? 0 : NXDOMAIN),
    questions: query.questions,
    answers,
  };
}

function askerOf(all: Named[], from: string): Named | undefined {
  return all.find((m) => m.address4 === from || sameAddress6(m.address6, from));
}

function sameAddress6(ours: string, theirs: string): boolean {
  return isIPv6(theirs) && bytes6(ours).join() === bytes6(theirs.replace(/%.*$/, "")).join();
}

export function reverseOf(address: string): string {
  if (!isIPv6(address)) return `${address.split(".").reverse().join(".")}.in-addr.arpa`;
  const nibbles = bytes6(address).flatMap((b) => [(b >> 4).toString(16), (b & 15).toString(16)]);
  return `${nibbles.reverse().join(".")}.ip6.arpa`;
}

export function hostServers(): string[] {
  try {
    return [...readFileSync("/etc/resolv.conf", "utf8").matchAll(/^nameserver\s+(\S+)/gm)].map((m) => m[1]!);
  } catch {
    return [];
  }
}

export async function startResolver(addresses: string[], names: Names, upstream: () => string[]): Promise<{ close(): void }> {
  const open: (Socket | Server)[] = [];
  for (const address of addresses) {
    const udp = createSocket(isIPv6(address) ? "udp6" : "udp4");
    udp.on(
      "message",
      (bytes: Buffer, from) =>
        void answer(bytes, names, upstream, "udp", from.address).then(
          (reply) => reply && udp.send(reply, from.port, from.address),
          () => {},
        ),
    );
    udp.on("error", () => {});
    await new Promise<void>((done, fail) => udp.once("error", fail).bind(53, address, done));
    const tcp = createServer((socket) => {
      let held = Buffer.alloc(0);
      socket.setTimeout(10_000, () => socket.destroy());
      socket.on("error", () => socket.destroy());
      socket.on("data", (bytes: Buffer) => {
        held = Buffer.concat([held, bytes]);
        while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
          const message = held.subarray(2, 2 + held.readUInt16BE(0));
          held = held.subarray(2 + message.length);
          void answer(message, names, upstream, "tcp", socket.remoteAddress).then(
            (reply) => reply && socket.write(Buffer.concat([u16(reply.length), reply])),
            () => socket.destroy(),
          );
        }
      });
    });
    await new Promise<void>((done, fail) => tcp.once("error", fail).listen(53, address, done));
    open.push(udp, tcp);
  }
  return { close: () => open.forEach((s) => s.close()) };
}

async function answer(
  bytes: Buffer,
  names: Names,
  upstream: () => string[],
  by: "udp" | "tcp",
  from: string | undefined,
): Promise<Buffer | undefined> {
  const own = resolve(decode(bytes), names, from);
  if (own) return encode(own);
  // A way out for names would be a way out.
  const inside = from !== undefined && askerOf([...names()], from)?.networks.every((n) => n.internal);
  for (const server of inside ? [] : upstream()) {
    const reply = await (by === "udp" ? askUdp(server, bytes) : askTcp(server, bytes)).catch(() => undefined);
    if (reply) return reply;
  }
  const query = decode(bytes);
  return encode({ type: "response", id: query.id, flags: inside ? REFUSED : SERVFAIL, questions: query.questions });
}

function askUdp(server: string, bytes: Buffer): Promise<Buffer> {
  return new Promise((done, fail) => {
    const socket = createSocket(isIPv6(server) ? "udp6" : "udp4");
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.close();
      settle();
    };
    const timer = setTimeout(() => end(() => fail(new Error("timeout"))), UPSTREAM_TIMEOUT_MS);
    socket.once("message", (reply) => end(() => done(reply)));
    socket.once("error", (e) => end(() => fail(e)));
    socket.send(bytes, 53, server);
  });
}

function askTcp(server: string, bytes: Buffer): Promise<Buffer> {
  return new Promise((done, fail) => {
    const socket = createConnection({ host: server, port: 53, timeout: UPSTREAM_TIMEOUT_MS });
    let held = Buffer.alloc(0);
    socket.on("connect", () => socket.write(Buffer.concat([u16(bytes.length), bytes])));
    socket.on("timeout", () => socket.destroy(new Error("timeout")));
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("closed")));
    socket.on("data", (piece: Buffer) => {
      held = Buffer.concat([held, piece]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE(0)) return;
      done(Buffer.from(held.subarray(2, 2 + held.readUInt16BE(0))));
      socket.destroy();
    });
  });
}

function u16(n: number): Buffer {
  return Buffer.from([n >> 8, n & 255]);
}
