import { expect, test } from "bun:test";
import fc from "fast-check";
import { addressesOf, groups, overlaps4, renderRules, tapName, type NodeNetwork } from "./plan.ts";

const network: NodeNetwork = { bridge: "hyperlane0", subnet4: "10.77.0.0/16", prefix6: "fd00:1:2:3", uplink: null };

const networks = [{ number: 1, internal: false, aliases: [] }];

test("the rules of a node with two machines, one of them exposed", () => {
  const machines = [
    {
      id: "m-aaaaaaaaaaaa",
      name: "api",
      slot: 0,
      networks,
      exposures: [{ hostIp: null, port: 80, hostPort: 8080, protocol: "tcp" as const }],
    },
    {
      id: "m-bbbbbbbbbbbb",
      name: "db",
      slot: 300,
      networks,
      exposures: [{ hostIp: "127.0.0.1", port: 53, hostPort: 5353, protocol: "udp" as const }],
    },
  ];
  expect(renderRules(network, machines)).toMatchSnapshot();
});

test("no two slots share an address, and a TAP's name fits the kernel's 15 characters", () => {
  const slot = fc.integer({ min: 0, max: 65000 });
  fc.assert(
    fc.property(slot, slot, (a, b) => {
      const [x, y] = [a, b].map((s) => addressesOf(network, { id: "m-aaaaaaaaaaaa", slot: s }));
      expect([x!.address4 === y!.address4, x!.address6 === y!.address6, x!.mac === y!.mac, x!.linkLocal === y!.linkLocal]).toEqual(
        Array(4).fill(a === b),
      );
    }),
  );
  expect(tapName("m-aaaaaaaaaaaa").length).toBeLessThanOrEqual(15);
});

test("a clash of networks is seen from either side", () => {
  expect([
    overlaps4("10.77.0.0/16", "10.0.0.0/8"),
    overlaps4("10.77.0.0/16", "10.77.3.0/24"),
    overlaps4("10.77.0.0/16", "10.78.0.0/16"),
    overlaps4("10.77.0.0/16", "192.168.0.0/16"),
  ]).toEqual([true, true, false, false]);
});

test("a machine hears those it shares a network with, and itself; one in none hears nobody", () => {
  const machine = fc.record({ slot: fc.nat(60_000), in: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }) });
  fc.assert(
    fc.property(fc.uniqueArray(machine, { selector: (m) => m.slot, maxLength: 12 }), (list) => {
      const machines = list.map((m) => ({
        id: `m-${m.slot}`,
        name: `n${m.slot}`,
        slot: m.slot,
        exposures: [],
        networks: m.in.map((number) => ({ number, internal: number === 4, aliases: [] })),
      }));
      const made = groups(machines);
      for (const a of machines) {
        const group = made.find((g) => g.members.includes(a))!;
        for (const b of machines)
          expect(group.hears.includes(b)).toBe(a.networks.some((x) => b.networks.some((y) => x.number === y.number)));
        expect(group.out).toBe(a.networks.some((n) => n.number !== 4));
      }
      expect(new Set(made.map((g) => g.mark)).size).toBe(made.length);
    }),
  );
});
