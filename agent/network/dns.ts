/** The machines' resolver, on the bridge's gateway addresses: NAME.internal from what runs here, the rest from the host's own servers. */
import { createSocket, type Socket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createConnection, createServer, isIPv6, type Server } from "node:net";
import { decode, encode, type Answer, type Packet } from "dns-packet";
import { bytes6 } from "#contract/wire/config.ts";

export const ZONE = "internal";
const TTL_S = 5;
const UPSTREAM_TIMEOUT_MS = 5_000;

export type Names = () => Iterable<{ name: string; address4: string; address6: string }>;

/** Our own answer, or undefined when the question is not about our zone or addresses. Pure. */
export function resolve(query: Packet, names: Names): Packet | undefined {
  const question = query.questions?.[0];
  if (!question) return undefined;
  const asked = question.name.toLowerCase().replace(/\.$/, "");
  const reverse = asked.endsWith(".arpa");
  if (!reverse && asked !== ZONE && !asked.endsWith(`.${ZONE}`)) return undefined;
  const answers: Answer[] = [];
  let known = false;
  for (const m of names()) {
    if (reverse) {
      if (asked === reverseOf(m.address4) || asked === reverseOf(m.address6))
        answers.push({ name: question.name, type: "PTR", ttl: TTL_S, data: `${m.name}.${ZONE}` });
      continue;
    }
    if (asked !== `${m.name}.${ZONE}`) continue;
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
        void answer(bytes, names, upstream, "udp").then(
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
          void answer(message, names, upstream, "tcp").then(
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

async function answer(bytes: Buffer, names: Names, upstream: () => string[], by: "udp" | "tcp"): Promise<Buffer | undefined> {
  const own = resolve(decode(bytes), names);
  if (own) return encode(own);
  for (const server of upstream()) {
    const reply = await (by === "udp" ? askUdp(server, bytes) : askTcp(server, bytes)).catch(() => undefined);
    if (reply) return reply;
  }
  const query = decode(bytes);
  return encode({ type: "response", id: query.id, flags: 2, questions: query.questions }); // SERVFAIL
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
