/** A node's network as data: who has which address, and the nftables rules that follow. Pure. */
import type { Exposure } from "#contract/resources/machine.ts";
import { bytes4, bytes6 } from "#contract/wire/config.ts";

/** subnet4: IPv4 prefix of the machines, in CIDR. prefix6: a /64 ULA as its first four groups. uplink: the only way out; null: any. */
export type NodeNetwork = { bridge: string; subnet4: string; prefix6: string; uplink: string | null };
/** networks: those it is in; none: it is alone. */
export type MachineNetwork = {
  id: string;
  name: string;
  slot: number;
  exposures: Exposure[];
  networks: { number: number; internal: boolean; aliases: string[] }[];
};
export type Addresses = { address4: string; address6: string; linkLocal: string; mac: string; tap: string };

/** Everything made on the host for a machine is named after its id: 12 characters fill an interface name exactly. */
export function tapName(id: string): string {
  return `hl-${id.slice(2)}`;
}

export function gateway4(network: NodeNetwork): string {
  return toIp4(base4(network) + 1);
}

export function gateway6(network: NodeNetwork): string {
  return `${network.prefix6}::1`;
}

export function prefixLength4(network: NodeNetwork): number {
  return Number(network.subnet4.split("/")[1]);
}

export function netmask4(network: NodeNetwork): string {
  return toIp4((-1 << (32 - prefixLength4(network))) >>> 0);
}

/** The host's own, numbered as machines' are; nobody's is below it but that of machines which are none (templates). */
export const GATEWAY_MAC = macOf(1);
export const NOBODYS_MAC = macOf(0);

function macOf(host: number): string {
  return [0x52, 0x48, 0, 0, host >> 8, host & 255].map((b) => b.toString(16).padStart(2, "0")).join(":");
}

/** Stable for as long as the machine lives: they follow from its slot on the node. Slot 0 is the address after the gateway's. */
export function addressesOf(network: NodeNetwork, machine: { id: string; slot: number }): Addresses {
  const host = machine.slot + 2;
  const mac = macOf(host);
  return {
    address4: toIp4(base4(network) + host),
    address6: `${network.prefix6}::${host.toString(16)}`,
    linkLocal: linkLocal(mac),
    mac,
    tap: tapName(machine.id),
  };
}

function hex6(address: string): string {
  return `0x${bytes6(address)
    .map((b) => b.toString(16).padStart(2, "0"))
    .join("")}`;
}

/** RFC 4291 appendix A: the interface id of an Ethernet address. */
function linkLocal(mac: string): string {
  const b = mac.split(":").map((x) => parseInt(x, 16));
  const groups = [((b[0]! ^ 2) << 8) | b[1]!, (b[2]! << 8) | 0xff, 0xfe00 | b[3]!, (b[4]! << 8) | b[5]!];
  return `fe80::${groups.map((g) => g.toString(16)).join(":")}`;
}

function base4(network: NodeNetwork): number {
  const [address = "", bits] = network.subnet4.split("/");
  return (fromIp4(address) & (-1 << (32 - Number(bits)))) >>> 0;
}

function fromIp4(text: string): number {
  return bytes4(text).reduce((n, b) => n * 256 + b, 0);
}

function toIp4(n: number): string {
  return [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
}

export function overlaps4(a: string, b: string): boolean {
  const [aBase = "", aBits] = a.split("/");
  const [bBase = "", bBits = "32"] = b.split("/");
  const mask = -1 << (32 - Math.min(Number(aBits), Number(bBits)));
  return Number(bBits) > 0 && ((fromIp4(aBase) ^ fromIp4(bBase)) & mask) === 0;
}

/** "H" on top, so that other software's marks are not met. */
const MARK = 0x48000000;
const NOBODY = 0x48ffffff;
/** On its way to a published port, or back: where br_netfilter is loaded, the bridge itself passes that on. By it also
 * a machine that asks a port of the host is known to have asked, so that what it asked answers through the host. */
const PUBLISHED = 0x48fffffe;

/**
 * Who hears whom. Machines that are in the same networks make a group, and a packet carries the group of its sender as
 * its mark, set where it enters: so that rules are as many as machines, and not as pairs of them.
 */
export function groups(
  machines: readonly MachineNetwork[],
): { mark: number; members: MachineNetwork[]; hears: MachineNetwork[]; out: boolean }[] {
  const byKey = Map.groupBy(machines, (m) => JSON.stringify(m.networks.map((n) => n.number).sort((a, b) => a - b)));
  return [...byKey.values()].map((members, i) => {
    const mine = new Set(members[0]!.networks.map((n) => n.number));
    return {
      mark: MARK + i + 1,
      members,
      hears: machines.filter((m) => m.networks.some((n) => mine.has(n.number))),
      out: members[0]!.networks.some((n) => !n.internal),
    };
  });
}

function set(name: string, type: string, elements: string[]): string {
  return `  set ${name} {\n    type ${type}\n${elements.length ? `    elements = { ${elements.join(",\n      ")} }\n` : ""}  }`;
}

/**
 * The inet rules see what the host routes, and, where br_netfilter is loaded (Docker does), what the bridge passes on as well;
 * what is never routed is the bridge rules' business alone.
 * The whole ruleset, applied as one transaction that replaces the last. Only tables named hyperlane are touched,
 * so other software's rules stay as they are.
 */
export function renderRules(network: NodeNetwork, machines: readonly MachineNetwork[]): string {
  const { bridge, subnet4, prefix6, uplink } = network;
  const out = uplink === null ? `oifname != "${bridge}"` : `oifname "${uplink}"`;
  const reachable = machines.filter((m) => m.networks.length);
  const forwards = reachable.flatMap((m) => m.exposures.map((e) => ({ ...e, ...addressesOf(network, m) })));
  const dnat = forwards.flatMap((f) => {
    const at = f.hostIp === null ? "fib daddr type local" : `${f.hostIp.includes(":") ? "ip6" : "ip"} daddr ${f.hostIp}`;
    const by4 = `    ${at} ${f.protocol} dport ${f.hostPort} meta nfproto ipv4 dnat ip to ${f.address4}:${f.port}`;
    const by6 = `    ${at} ${f.protocol} dport ${f.hostPort} meta nfproto ipv6 ip6 daddr != ::1 dnat ip6 to [${f.address6}]:${f.port}`;
    return f.hostIp === null ? [by4, by6] : f.hostIp.includes(":") ? [by6] : [by4];
  });
  const all = groups(machines);
  const marks = new Map(all.flatMap((g) => g.members.map((m) => [m.id, g.mark])));
  const heard = all.flatMap((g) => g.hears.map((m) => ({ mark: hex(g.mark), ...addressesOf(network, m) })));
  const inside = all.filter((g) => !g.out).map((g) => hex(g.mark));
  const guards = machines.map((m) => {
    const a = addressesOf(network, m);
    return [
      `    iifname "${a.tap}" ether saddr != ${a.mac} drop`,
      `    iifname "${a.tap}" arp saddr ip != { ${a.address4}, 0.0.0.0 } drop`,
      `    iifname "${a.tap}" arp saddr ether != ${a.mac} drop`,
      `    iifname "${a.tap}" ip saddr != ${a.address4} drop`,
      `    iifname "${a.tap}" ip6 saddr != { ${a.address6}, ${a.linkLocal}, :: } drop`,
      `    iifname "${a.tap}" icmpv6 type { nd-router-advert, nd-redirect } drop`,
      // The target of a neighbour advertisement (RFC 4861 section 4.4): whose address it says this is.
      `    iifname "${a.tap}" icmpv6 type nd-neighbor-advert @th,64,128 != { ${hex6(a.address6)}, ${hex6(a.linkLocal)} } drop`,
      m.networks.length ? `    iifname "${a.tap}" meta mark set ${hex(marks.get(m.id)!)} accept` : `    iifname "${a.tap}" drop`,
    ].join("\n");
  });
  return `table inet hyperlane
delete table inet hyperlane
table inet hyperlane {
${set(
  "heard4",
  "mark . ipv4_addr",
  heard.map((h) => `${h.mark} . ${h.address4}`),
)}
${set(
  "heard6",
  "mark . ipv6_addr",
  heard.map((h) => `${h.mark} . ${h.address6}`),
)}
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
${dnat.join("\n")}
  }
  chain published {
    type filter hook prerouting priority -90; policy accept;
    iifname "${bridge}" ct status dnat meta mark set ${hex(PUBLISHED)}
  }
  chain output {
    type nat hook output priority -100; policy accept;
${dnat.join("\n")}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${subnet4} ${out} masquerade
    ip6 saddr ${prefix6}::/64 ${out} masquerade
    ip saddr 127.0.0.0/8 oifname "${bridge}" masquerade
    meta mark ${hex(PUBLISHED)} oifname "${bridge}" masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname "${bridge}" ct state established,related accept
    oifname "${bridge}" ct status dnat accept
    iifname "${bridge}" oifname "${bridge}" meta mark . ip daddr @heard4 accept
    iifname "${bridge}" oifname "${bridge}" meta mark . ip6 daddr @heard6 accept
    iifname "${bridge}" oifname "${bridge}" ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
    iifname "${bridge}" oifname "${bridge}" ip6 daddr { ff00::/8, fe80::/10 } accept
    oifname "${bridge}" drop
    iifname "${bridge}" ct state established,related accept
    iifname "${bridge}" meta mark { ${[hex(NOBODY), ...inside].join(", ")} } drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname != "${bridge}" accept
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept
    meta l4proto { tcp, udp } th dport 53 accept
    drop
  }
}
table bridge hyperlane
delete table bridge hyperlane
table bridge hyperlane {
${set(
  "heard",
  "mark . ifname",
  heard.map((h) => `${h.mark} . "${h.tap}"`),
)}
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
${guards.join("\n")}
    iifname "hl-*" drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    meta mark ${hex(PUBLISHED)} accept
    iifname "hl-*" oifname "hl-*" meta mark . oifname != @heard drop
  }
}
`;
}

function hex(n: number): string {
  return `0x${n.toString(16).padStart(8, "0")}`;
}
