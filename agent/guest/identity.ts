/** What init in a machine is told at each of its starts: who it is, where it is, and what SSH needs. */
import type { Desired, Identity } from "#contract/wire/agent.ts";
import { encodeConfig } from "#contract/wire/config.ts";
import { encodeExec } from "#contract/wire/frames.ts";
import { ZONE } from "#agent/network/dns.ts";
import { addressesOf, gateway4, gateway6, prefixLength4, type NodeNetwork } from "#agent/network/plan.ts";

/** copied: what its disk holds was another machine's. readdress: it knows itself under other addresses. mounts: as guest/volume.c reads them. */
export function guestConfig(
  { desired, copied, readdress }: { desired: Desired; copied: boolean; readdress: boolean },
  identity: Identity,
  network: NodeNetwork,
  mounts: string[],
): Buffer {
  const { address4, address6 } = addressesOf(network, desired);
  const hostname = desired.spec.hostname ?? desired.name;
  const resolvConf = `nameserver ${gateway4(network)}\nnameserver ${gateway6(network)}\nsearch ${ZONE}\n`;
  const hosts = `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${address4}\t${hostname}\n${address6}\t${hostname}\n`;
  const { workload } = desired;
  const system = workload.kind === "system";
  return encodeConfig({
    root: {
      init: system ? workload.init : null,
      folders: desired.mounts.some((m) => m.folder !== null),
      copied,
      readOnly: desired.spec.readOnly,
    },
    network: { ...guestNetwork(network, desired), anew: readdress },
    hostname,
    resolvConf: system ? resolvConf : null,
    ...now(),
    mounts,
    unmounts: [],
    files: system ? systemFiles(desired, identity) : workloadFiles({ hostname: `${hostname}\n`, hosts, "resolv.conf": resolvConf }),
  });
}

/** A machine that a template is made of: it is nobody, and nowhere. */
export function anonymousConfig(init: string): Buffer {
  const nobody = { network: null, hostname: "localhost", resolvConf: null, mounts: [], unmounts: [], files: [] };
  return encodeConfig({ root: { init, folders: false, copied: false }, ...nobody, ...now() });
}

/** What a spare rehearses with (guest/still.c): some machine, which only says that it was there. */
export function rehearsal(network: NodeNetwork): Buffer {
  const name = "rehearsal";
  const config = encodeConfig({
    root: { init: null, folders: false, copied: false },
    network: guestNetwork(network, { id: "m-rehearsal000", slot: 0 }),
    hostname: name,
    resolvConf: null,
    ...now(),
    mounts: [],
    unmounts: [],
    files: workloadFiles({ hostname: name, hosts: name, "resolv.conf": name }),
  });
  const words = { argv: ["/proc/self/exe"], env: ["PATH=/bin"], workdir: "/", user: "", tty: false, stdin: false };
  const head = Buffer.from([3, 0, 0, 0, 0]);
  head.writeUInt32LE(config.length, 1);
  return Buffer.concat([head, config, encodeExec({ ...words, rows: 24, cols: 80 })]);
}

function guestNetwork(network: NodeNetwork, machine: { id: string; slot: number }) {
  const { address4, address6, mac } = addressesOf(network, machine);
  return {
    mac,
    address6,
    prefix6: 64,
    gateway6: gateway6(network),
    address4,
    prefix4: prefixLength4(network),
    gateway4: gateway4(network),
  };
}

function now(): { clockNs: bigint; entropy: Buffer } {
  return { clockNs: BigInt(Date.now()) * 1_000_000n, entropy: Buffer.from(crypto.getRandomValues(new Uint8Array(64))) };
}

/** What ssh in a machine with an init of its own needs. */
function systemFiles(desired: Desired, identity: Identity) {
  const environment = Object.entries(desired.spec.env)
    .map(([k, v]) => `${k}=${JSON.stringify(v)}\n`)
    .join("");
  return [
    { name: "ssh_host_key", mode: 0o600, content: identity.hostKey },
    { name: "ssh_host_key-cert.pub", mode: 0o644, content: identity.hostCertificate },
    { name: "ssh_user_ca.pub", mode: 0o644, content: identity.userCa },
    { name: "ssh_principals", mode: 0o644, content: `${identity.principals.join("\n")}\n` },
    { name: "environment", mode: 0o644, content: environment },
  ];
}

function workloadFiles(files: Record<string, string>) {
  return Object.entries(files).map(([name, content]) => ({ name, mode: 0o644, content }));
}

/** The RUN frame; null where the image's own init runs everything. */
export function guestWorkload({ workload }: Desired): Buffer | null {
  return workload.kind !== "process" ? null : encodeExec({ ...workload, rows: 24, cols: 80 });
}
