/** What init in a machine is told at each of its starts: who it is, where it is, and what SSH needs. */
import type { Desired, Identity } from "#contract/wire/agent.ts";
import { encodeConfig } from "#contract/wire/config.ts";
import { ZONE } from "#agent/network/dns.ts";
import { addressesOf, gateway4, gateway6, prefixLength4, type NodeNetwork } from "#agent/network/plan.ts";

export function guestConfig(desired: Desired, identity: Identity, network: NodeNetwork): Buffer {
  const { address4, address6 } = addressesOf(network, desired);
  return encodeConfig({
    hostname: desired.name,
    address6,
    prefix6: 64,
    gateway6: gateway6(network),
    address4,
    prefix4: prefixLength4(network),
    gateway4: gateway4(network),
    resolvConf: `nameserver ${gateway4(network)}\nnameserver ${gateway6(network)}\nsearch ${ZONE}\n`,
    clockNs: BigInt(Date.now()) * 1_000_000n,
    entropy: Buffer.from(crypto.getRandomValues(new Uint8Array(64))),
    files: [
      { name: "ssh_host_key", mode: 0o600, content: identity.hostKey },
      { name: "ssh_host_key-cert.pub", mode: 0o644, content: identity.hostCertificate },
      { name: "ssh_user_ca.pub", mode: 0o644, content: identity.userCa },
      { name: "ssh_principals", mode: 0o644, content: `${identity.principals.join("\n")}\n` },
      {
        name: "environment",
        mode: 0o644,
        content: Object.entries(desired.spec.env)
          .map(([k, v]) => `${k}=${JSON.stringify(v)}\n`)
          .join(""),
      },
    ],
  });
}
