import { afterAll, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { ERRORS, isErrorCode } from "#contract/errors.ts";
import { isMutation, OPERATION_NAMES, OPERATIONS, pathOf, type Operation, type OperationName } from "#contract/operations.ts";
import { SCHEMAS } from "#contract/schemas.ts";
import { createSshCa, generateSshCaKeys } from "#control/auth/ssh.ts";
import { createLinks } from "#control/auth/links.ts";
import { createSecret, newId } from "#control/auth/tokens.ts";
import { openStore, type Store } from "#control/store/store.ts";
import { admit, call, HANDLERS, type Incoming } from "./call.ts";
import type { Deps } from "./handler.ts";
import { openapiDocument } from "./openapi.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { describeTarget } from "#control/images/catalog.ts";
import { createMover } from "#control/images/mover.ts";
import { openBlobs } from "#oci/blobs.ts";

const ssh = createSshCa(generateSshCaKeys(), Date.now);
const [admin, viewer, revoked] = [createSecret(), createSecret(), createSecret()];
let store: Store;
let deps: Deps;
let logged: string[];

beforeEach(async () => {
  store = openStore(":memory:", Date.now);
  logged = [];
  const token = (name: string, role: "admin" | "viewer", hash: string) => ({
    type: "v1.TokenCreated" as const,
    subject: `t-${name}`,
    actor: "init",
    data: { name, role, hash },
  });
  await store.append([
    token("admin", "admin", admin.hash),
    token("viewer", "viewer", viewer.hash),
    token("gone", "admin", revoked.hash),
    { type: "v1.ImageStored", subject: "i-debian", actor: "init", data: { name: "debian:12", ...describeTarget(blobs, anImage()) } },
    { type: "v1.TokenRemoved", subject: "t-gone", actor: "init", data: {} },
  ]);
  deps = {
    store,
    ssh,
    links: createLinks(Date.now),
    certificates: [],
    enrol: async (node, { address }) => `hlj_${node} ${address}`,
    jwtSecret: "a secret of sixteen",
    maxDiskMib: 102_400,
    version: "0",
    startedAt: 0,
    now: Date.now,
    newId,
    connections: {
      stats: () => Promise.reject(new Error("no node here")),
      signal: () => Promise.reject(new Error("no node here")),
    } as never,
    images: createMover({
      blobs,
      state: () => store.state,
      append: (events) => store.append(events),
      newId,
      agents: {} as never,
      registries: { mirrors: {}, insecure: [] },
      log,
    }),
  };
});

const dir = mkdtempSync(`${tmpdir()}/hl-api-`);
const blobs = openBlobs(dir);
afterAll(() => rmSync(dir, { recursive: true }));

/** An image of no layers that boots a system; its manifest's digest. */
function anImage(): string {
  const part = (mediaType: string, value: object) => {
    const bytes = Buffer.from(JSON.stringify(value));
    return { mediaType, digest: blobs.put(bytes), size: bytes.length };
  };
  const config = part("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config: { Cmd: ["/sbin/init"] },
    rootfs: { type: "layers", diff_ids: [] },
  });
  return part("", { schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config, layers: [] }).digest;
}

const log = (line: string): void => void logged.push(line);
async function ask(method: string, path: string, body?: unknown, more: Partial<Incoming> = {}) {
  const [pathname = "", search = ""] = path.split(/(?=\?)/);
  const out = await call(
    deps,
    {
      method,
      pathname,
      search,
      secret: admin.secret,
      idempotencyKey: null,
      text: body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body),
      ...more,
    },
    log,
  );
  return { status: out.status, replayed: out.replayed, body: out.type === "application/json" ? JSON.parse(out.body) : out.body };
}
const params = {
  machine: "api",
  snapshot: "s1",
  image: "debian:12",
  port: "80",
  token: "viewer",
  volume: "data",
  network: "front",
  template: "abc",
  node: "node-1",
  session: "current",
};

for (const name of OPERATION_NAMES) {
  const operation: Operation = OPERATIONS[name];
  const where = { method: operation.method, pathname: pathOf(name, params), search: "" };
  const refuse = async (secret: string | undefined): Promise<string | undefined> => {
    const before = store.lastSeq;
    let code: string | undefined;
    if (operation.live) {
      try {
        await admit(deps, { ...where, search: searchFor(name), secret });
      } catch (e) {
        code = (e as { code: string }).code;
      }
    } else code = (await ask(operation.method, where.pathname, undefined, { secret })).body.code;
    expect(store.lastSeq).toBe(before);
    return code;
  };

  test(`${name}: who may not is refused`, async () => {
    if (operation.permission === "open")
      return expect([401, 403]).not.toContain((await ask(operation.method, where.pathname, undefined, { secret: undefined })).status);
    expect(await refuse(undefined)).toBe("UNAUTHENTICATED");
    expect(await refuse("hl_wrong")).toBe("UNAUTHENTICATED");
    expect(await refuse(revoked.secret)).toBe("UNAUTHENTICATED");
    const reader = await refuse(viewer.secret);
    if (operation.permission === "read") expect(["UNAUTHENTICATED", "FORBIDDEN"]).not.toContain(reader ?? "let through");
    else expect(reader).toBe("FORBIDDEN");
  });

  test(`${name}: has a handler, schemas and a place in the document`, () => {
    expect(operation.live === true || name in HANDLERS).toBe(true);
    expect(SCHEMAS[name].output).toBeDefined();
    expect(
      (openapiDocument("0") as { paths: Record<string, Record<string, { operationId: string }>> }).paths[operation.path]![
        operation.method.toLowerCase()
      ]!.operationId,
    ).toBe(name);
  });

  test(`${name}: whatever the input, an answer of ours, and nothing changed by a refused one`, async () => {
    if (operation.live || !isMutation(operation)) return;
    await ask("POST", "/v1/machines", { name: "api" });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string(), near(name)), fc.string(), async (text, key) => {
        const before = store.lastSeq;
        const { status, body } = await ask(operation.method, where.pathname, text, { idempotencyKey: key });
        if (status === 200) return;
        expect(store.lastSeq).toBe(before);
        expect(isErrorCode(body.code)).toBe(true);
        expect(body.code).not.toBe("BUG");
        expect([status, body.message.length > 5, body.hint.length > 5]).toEqual([ERRORS[body.code as "INVALID"].http, true, true]);
        expect(`${body.message}${body.hint}`).not.toMatch(/undefined|\[object|NaN/);
      }),
      { numRuns: 60 },
    );
    expect(logged).toEqual([]);
  });
}

function searchFor(name: OperationName): string {
  return { machineExec: "?argv=%5B%22a%22%5D", machineCopy: "?direction=in&path=%2Fa", machineTunnel: "?port=1" }[name as string] ?? "";
}

/** Bodies that are almost right: the fields are the schema's, their values anything. */
function near(name: OperationName): fc.Arbitrary<string> {
  const schema = (SCHEMAS[name] as { body?: { shape?: object } }).body;
  const keys = Object.keys(schema?.shape ?? {});
  const value = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.double(),
    fc.constant(null),
    fc.constant("api"),
    fc.constant({}),
    fc.dictionary(fc.string(), fc.string()),
    fc.string({ unit: "grapheme" }),
    fc.constant("../../etc/passwd"),
    fc.constant("a\0b"),
    fc.constant(1e308),
    fc.constant({ cpu: 0 }),
    fc.constant({ __proto__: null, cpu: "1" }),
  );
  return fc.dictionary(fc.constantFrom(...keys, "extra", "__proto__"), value).map((v) => JSON.stringify(v));
}

test("whatever the query, it is understood or refused with the field's name", async () => {
  for (const name of OPERATION_NAMES) {
    const operation: Operation = OPERATIONS[name];
    const keys = Object.keys((SCHEMAS[name] as { query?: { shape?: object } }).query?.shape ?? {});
    if (!keys.length) continue;
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          fc.constantFrom(...keys, "extra"),
          fc.oneof(fc.string(), fc.integer().map(String), fc.constantFrom("true", "[]", '["a"]', "/x", "1e9", "-0", "NaN")),
        ),
        async (query) => {
          try {
            await admit(deps, {
              method: operation.method,
              pathname: pathOf(name, params),
              search: `?${new URLSearchParams(query)}`,
              secret: admin.secret,
            });
          } catch (e) {
            const error = e as { code: string; field?: string; message: string };
            expect([error.code, [...keys, "extra"].includes(error.field ?? "")]).toEqual(["INVALID", true]);
            expect(error.message).not.toMatch(/undefined|NaN|expected/);
          }
        },
      ),
      { numRuns: 100 },
    );
  }
});

test("a machine asked for with the same key twice is one; another request under that key is refused", async () => {
  const first = await ask("POST", "/v1/machines", { name: "api" }, { idempotencyKey: "k" });
  const again = await ask("POST", "/v1/machines", { name: "api" }, { idempotencyKey: "k" });
  expect([first.status, again.replayed, again.body.id]).toEqual([200, true, first.body.id]);
  expect((await ask("POST", "/v1/machines", { name: "web" }, { idempotencyKey: "k" })).body.code).toBe("CONFLICT");
  expect(store.state.machine.size).toBe(1);
});

test("a secret is never kept for a key, never listed, never in the log", async () => {
  const { body } = await ask("POST", "/v1/tokens", { name: "ci", role: "admin" }, { idempotencyKey: "k" });
  expect(body.secret).toStartWith("hl_");
  expect(store.answerFor("t-admin k")).toBeUndefined();
  expect(JSON.stringify([(await ask("GET", "/v1/tokens")).body, (await ask("GET", "/v1/events?limit=1000")).body])).not.toContain(
    body.secret,
  );
});

test("pages hold every machine once, whatever the size, and filters hold", async () => {
  for (let i = 0; i < 23; i++) await ask("POST", "/v1/machines", { name: `m${i}`, labels: { parity: String(i % 2) } });
  const names: string[] = [];
  for (let after: string | null = ""; after !== null;) {
    const { body }: { body: { items: { name: string }[]; next: string | null } } = await ask(
      "GET",
      `/v1/machines?limit=5${after ? `&after=${after}` : ""}`,
    );
    names.push(...body.items.map((m) => m.name));
    after = body.next;
  }
  expect(names).toEqual([...store.state.names.keys()].sort());
  expect((await ask("GET", "/v1/machines?label=parity=1")).body.items).toHaveLength(11);
  expect((await ask("GET", "/v1/machines?state=running")).body.items).toHaveLength(0);
});

test("names: what is allowed and what is not", async () => {
  for (const name of ["a", "api-prod", `a${"b".repeat(62)}`])
    expect([name, (await ask("POST", "/v1/machines", { name })).status]).toEqual([name, 200]);
  for (const name of ["", "-a", "a-", "A", "1a", "a_b", "a.b", "ä", "a b", `a${"b".repeat(63)}`, "../x", "a\u0000"]) {
    const { status, body } = await ask("POST", "/v1/machines", { name });
    expect([name, status, body.field]).toEqual([name, 400, "name"]);
  }
});

test("health is open, metrics are Prometheus text", async () => {
  await ask("POST", "/v1/machines", { name: "api" });
  expect((await ask("GET", "/v1/health", undefined, { secret: undefined })).body).toEqual({ status: "ok", version: "0" });
  const { body } = await ask("GET", "/metrics");
  expect(body).toContain('hyperlane_machines{state="requested"} 1\n');
  for (const line of (body as string).trim().split("\n"))
    expect(line).toMatch(/^(# (HELP|TYPE) hyperlane_\w+ .+|hyperlane_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?[\d.e+]+)$/);
});

test("JSON Web Tokens: signed with our secret, in force, and with the role they name", async () => {
  const { signJwt } = await import("#control/auth/jwt.ts");
  const secret = deps.jwtSecret!;
  const who = async (jwt: string) => (await ask("GET", "/v1/whoami", undefined, { secret: jwt })).body;
  expect(await who(await signJwt(secret, "ann", "viewer", 60))).toEqual({ id: "jwt:ann", name: "ann", role: "viewer", session: null });
  const create = (jwt: string) => ask("POST", "/v1/machines", { name: "by-jwt" }, { secret: jwt });
  expect((await create(await signJwt(secret, "ann", "viewer", 60))).status).toBe(403);
  expect((await create(await signJwt(secret, "ann", "admin", 60))).status).toBe(200);
  const unsigned = `${Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url")}.${Buffer.from('{"sub":"ann"}').toString("base64url")}.`;
  for (const bad of [
    await signJwt("another secret of ours", "ann", "admin", 60),
    await signJwt(secret, "ann", "admin", -1),
    unsigned,
    "eyJ.x.y",
  ])
    expect((await create(bad)).status).toBe(401);
  deps = { ...deps, jwtSecret: null };
  expect((await create(await signJwt(secret, "ann", "admin", 60))).status).toBe(401);
  await expect(signJwt(null, "ann", "admin", 60)).rejects.toThrow(/takes no JSON Web Tokens/);
});

test("a disk larger than the host was set up for is refused", async () => {
  const answer = await ask("POST", "/v1/machines", { name: "large", spec: { diskMib: 102_401 } });
  expect([answer.status, (answer.body as { field: string }).field]).toEqual([400, "spec.diskMib"]);
});
