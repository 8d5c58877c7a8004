import { expect, test } from "bun:test";
import { readEnvironment } from "./environment.ts";

test("every variable of the specification is read, by its name there", () => {
  const env = {
    PORT: "8080",
    BRIDGE_NAME: "vmbr0",
    SUBNET_CIDR: "172.30.0.0/16",
    UPLINK_INTERFACE: "eth0",
    JWT_SECRET: "sixteen letters!",
    DNS_SERVER: "1.1.1.1",
    MAX_CONCURRENT_BUILDS: "3",
    MAX_OVERLAY_SIZE: "100GB",
  };
  expect(readEnvironment(env)).toEqual({
    port: 8080,
    bridge: "vmbr0",
    subnet: "172.30.0.0/16",
    uplink: "eth0",
    jwtSecret: "sixteen letters!",
    dnsServer: "1.1.1.1",
    maxBuilds: 3,
    maxDiskMib: 102_400,
  });
  expect(readEnvironment({ PORT: "", HOME: "/root" })).toEqual({});
});

test("a wrong value names the variable; a secret is never repeated", () => {
  const wrong = {
    PORT: "http",
    BRIDGE_NAME: "a-name-that-is-too-long",
    SUBNET_CIDR: "10.0.0.0",
    UPLINK_INTERFACE: "-x",
    DNS_SERVER: "999.1.1.1",
    MAX_CONCURRENT_BUILDS: "0",
    MAX_OVERLAY_SIZE: "much",
  };
  for (const [name, value] of Object.entries(wrong))
    expect(() => readEnvironment({ [name]: value })).toThrow(`${name} in the environment must be`);
  expect(() => readEnvironment({ JWT_SECRET: "short" })).toThrow(/^JWT_SECRET in the environment must be at least 16 characters\.$/);
});
