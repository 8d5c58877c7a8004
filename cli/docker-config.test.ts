import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { registryAuth } from "./docker-config.ts";

let dir: string;
const before = { DOCKER_CONFIG: process.env.DOCKER_CONFIG, PATH: process.env.PATH };
beforeEach(() => {
  dir = mkdtempSync(`${tmpdir()}/hl-docker-config-`);
  process.env.DOCKER_CONFIG = dir;
});
afterEach(() => {
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(dir, { recursive: true });
});
const write = (config: object): void => writeFileSync(`${dir}/config.json`, JSON.stringify(config));
const login = (image: string): unknown => {
  const header = registryAuth(image);
  return header === undefined ? undefined : JSON.parse(Buffer.from(header, "base64url").toString());
};

test("logins by registry, as docker login writes them", () => {
  expect(login("nginx")).toBeUndefined();
  write({
    auths: {
      "https://index.docker.io/v1/": { auth: btoa("ann:pass:word") },
      "ghcr.io": { auth: btoa("bob:token") },
      "https://registry.example.com": { identitytoken: "refresh" },
    },
  });
  expect(login("nginx")).toEqual({ username: "ann", password: "pass:word" });
  expect(login("ghcr.io/owner/app:v1")).toEqual({ username: "bob", password: "token" });
  expect(login("registry.example.com/app")).toEqual({ identitytoken: "refresh" });
  expect([login("quay.io/app"), login("not//an image")]).toEqual([undefined, undefined]);
});

test("a credential helper is asked for the registry, and one that knows nothing is passed over", () => {
  const helper = `#!/bin/sh\nread server\n[ "$1" = get ] || exit 2\ncase $server in ghcr.io) echo '{"Username":"carl","Secret":"s"}';; eu.example.com) echo '{"Username":"<token>","Secret":"t"}';; *) echo not found; exit 1;; esac\n`;
  writeFileSync(`${dir}/docker-credential-test`, helper);
  chmodSync(`${dir}/docker-credential-test`, 0o755);
  process.env.PATH = `${dir}:${before.PATH}`;
  write({ credsStore: "test", credHelpers: { "other.example.com": "missing" }, auths: { "quay.io": { auth: btoa("dora:x") } } });
  expect(login("ghcr.io/a/b")).toEqual({ username: "carl", password: "s" });
  expect(login("eu.example.com/a")).toEqual({ identitytoken: "t" });
  expect(login("quay.io/a")).toEqual({ username: "dora", password: "x" });
  expect(login("other.example.com/a")).toBeUndefined();
});

test("a file that cannot be read is said to be so", () => {
  writeFileSync(`${dir}/config.json`, "{");
  expect(() => registryAuth("nginx")).toThrow(/is not JSON/);
});
