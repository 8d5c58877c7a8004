/** The node's bridge, TAPs and rules, made and removed. Everything is idempotent: what is there already is kept. */
import { chmodSync, existsSync, readFileSync, writeFileSync, readdirSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { run } from "#agent/host/run.ts";
import {
  GATEWAY_MAC,
  gateway4,
  gateway6,
  overlaps4,
  prefixLength4,
  renderRules,
  tapName,
  type Addresses,
  type MachineNetwork,
  type NodeNetwork,
} from "./plan.ts";

export type Network = Awaited<ReturnType<typeof openNetwork>>;

const TAP = /^hl-[a-z0-9]{12}$/;

export async function openNetwork(network: NodeNetwork) {
  await checkConflicts(network);
  await makeBridge(network);
  // udev's own mode for it (50-udev-default.rules), which hosts without udev lack: a TAP's owner must get at it,
  // and making one still takes privilege.
  chmodSync("/dev/net/tun", 0o666);
  let rules = "";
  let wanted: readonly MachineNetwork[] = [];
  let applying: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | undefined;
  const apply = async (next: string): Promise<void> => {
    if (next === rules) return;
    await run(["nft", "-f", "-"], { input: next });
    rules = next;
  };
  const ip = async (lines: string[]): Promise<void> => void (await run(["ip", "-batch", "-"], { input: `${lines.join("\n")}\n` }));
  const drop = (id: string): string[] => (isThere(id) ? [`link delete ${tapName(id)}`] : []);
  const add = (id: string, uid: number): string[] => [...drop(id), `tuntap add dev ${tapName(id)} mode tap user ${uid}`];
  const join = (id: string): string => `link set dev ${tapName(id)} master ${network.bridge} alias "hyperlane ${id}" up`;
  return {
    network,
    /** A TAP that only the VMM's user may open. */
    attach: (id: string, uid: number): Promise<void> => ip([...add(id, uid), join(id)]),
    /** One that leads nowhere, until it is somebody's. */
    attachSpare: (id: string, uid: number): Promise<void> => ip(add(id, uid)),
    /** A spare's TAP becomes a machine's. */
    handOver: (spare: string, id: string): Promise<void> =>
      ip([...drop(id), `link set dev ${tapName(spare)} name ${tapName(id)}`, join(id)]),
    /** A cable into the network namespace of a container's process, where nothing runs yet that could use it. */
    async attachContainer(id: string, pid: number, { mac, address4, address6 }: Addresses): Promise<void> {
      await ip([...drop(id), `link add ${tapName(id)} type veth peer name eth0 address ${mac} netns ${pid}`, join(id)]);
      const inside = (argv: string[], input = ""): Promise<string> => run(["nsenter", `--net=/proc/${pid}/ns/net`, ...argv], { input });
      await inside(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"]);
      const lines = [
        `address add ${address4}/${prefixLength4(network)} dev eth0`,
        `address add ${address6}/64 dev eth0 nodad`,
        "link set dev eth0 up",
        `route add default via ${gateway4(network)}`,
        `route add ::/0 via ${gateway6(network)}`,
      ];
      await inside(["ip", "-batch", "-"], `${lines.join("\n")}\n`);
    },
    async detach(id: string): Promise<void> {
      if (isThere(id)) await run(["ip", "link", "delete", tapName(id)]);
    },
    /** Bytes to and from a machine; what its TAP receives, the machine has sent. */
    traffic(id: string): { networkInBytes: number; networkOutBytes: number } {
      const count = (which: string): number => {
        const path = `/sys/class/net/${tapName(id)}/statistics/${which}`;
        return existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
      };
      return { networkInBytes: count("tx_bytes"), networkOutBytes: count("rx_bytes") };
    },
    has: isThere,
    /** Ids of machines that have a TAP. */
    attached: (): string[] =>
      readdirSync("/sys/class/net")
        .filter((n) => TAP.test(n))
        .map((n) => `m-${n.slice(3)}`),
    /** Brings the rules to what these machines need. Calls that come while others are applied are one. */
    setRules(machines: readonly MachineNetwork[]): Promise<void> {
      wanted = machines;
      waiting ??= applying
        .catch(() => {})
        .then(() => {
          waiting = undefined;
          return (applying = apply(renderRules(network, wanted)));
        });
      return waiting;
    },
  };
}

function isThere(id: string): boolean {
  return existsSync(`/sys/class/net/${tapName(id)}`);
}

/** Takes away all that a node's network is made of. */
export async function removeNetwork(bridge: string): Promise<void> {
  for (const family of ["inet", "bridge"]) await run(["nft", "delete", "table", family, "hyperlane"]).catch(() => {});
  for (const tap of readdirSync("/sys/class/net").filter((n) => TAP.test(n))) await run(["ip", "link", "delete", tap]);
  if (existsSync(`/sys/class/net/${bridge}`)) await run(["ip", "link", "delete", bridge]);
}

async function checkConflicts(network: NodeNetwork): Promise<void> {
  const routes = JSON.parse((await run(["ip", "-j", "-4", "route"])) || "[]") as { dst: string; dev?: string }[];
  const clash = routes.find((r) => r.dst !== "default" && r.dev !== network.bridge && overlaps4(network.subnet4, r.dst));
  if (clash)
    throw new HyperlaneError(
      "CONFLICT",
      `The machines' network ${network.subnet4} overlaps the route ${clash.dst}${clash.dev ? ` of ${clash.dev}` : ""} on this host.`,
      { hint: "Choose a private network that this host does not use: hyperlane init --subnet 10.99.0.0/16" },
    );
}

async function makeBridge(network: NodeNetwork): Promise<void> {
  const { bridge } = network;
  if (!existsSync(`/sys/class/net/${bridge}`))
    await run(["ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"]);
  // Left to itself it takes the least of its ports' addresses, another with each machine that comes or goes, and those
  // who know the last one talk to nobody for a minute.
  await run(["ip", "link", "set", bridge, "address", GATEWAY_MAC]);
  await run(["ip", "address", "replace", `${gateway4(network)}/${prefixLength4(network)}`, "dev", bridge]);
  await run(["ip", "address", "replace", `${gateway6(network)}/64`, "dev", bridge, "nodad"]);
  await removeOthers(network);
  await run(["ip", "link", "set", bridge, "up"]);
  // A router stops listening to router advertisements, and the host itself may depend on them.
  for (const name of readdirSync("/proc/sys/net/ipv6/conf"))
    if (readSysctl(`ipv6/conf/${name}/accept_ra`) === "1" && name !== bridge) writeSysctl(`ipv6/conf/${name}/accept_ra`, "2");
  writeSysctl("ipv4/ip_forward", "1");
  writeSysctl("ipv6/conf/all/forwarding", "1");
  // So that a port exposed on the host answers on 127.0.0.1 too.
  writeSysctl(`ipv4/conf/${bridge}/route_localnet`, "1");
}

/** Addresses from before a change of the node's networks: the bridge is ours alone. */
async function removeOthers(network: NodeNetwork): Promise<void> {
  const [link] = JSON.parse(await run(["ip", "-j", "address", "show", "dev", network.bridge])) as {
    addr_info: { local: string; prefixlen: number; scope: string }[];
  }[];
  const ours = [gateway4(network), gateway6(network)];
  for (const a of link!.addr_info)
    if (a.scope === "global" && !ours.includes(a.local))
      await run(["ip", "address", "delete", `${a.local}/${a.prefixlen}`, "dev", network.bridge]);
}

function readSysctl(name: string): string | undefined {
  const path = `/proc/sys/net/${name}`;
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
}

function writeSysctl(name: string, value: string): void {
  if (readSysctl(name) !== value) writeFileSync(`/proc/sys/net/${name}`, value);
}
