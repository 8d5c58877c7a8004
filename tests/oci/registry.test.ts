/** Pulls and pushes against Debian's own registry, and Debian's own clients against ours. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseReference } from "#contract/oci/reference.ts";
import { openBlobs, type Blobs } from "#oci/blobs.ts";
import { createRegistry } from "#oci/client.ts";
import type { RegistryOptions } from "#oci/session.ts";
import { createTransfers, endpointsOf, type Progress } from "#oci/transfer.ts";
import { reachable } from "#control/images/catalog.ts";
import { createMover } from "#control/images/mover.ts";
import { emptyState, type NewEvent } from "#control/model/state.ts";
import { startFakeControl, type FakeControl } from "#tests/fake/control.ts";
import { startRegistry, startTokenServer, WHY_NO_REGISTRY, writeLayout } from "./peers.ts";

const dir = mkdtempSync(`${tmpdir()}/hl-oci-`);
const layer = (name: string, bytes: number): Buffer => {
  mkdirSync(`${dir}/${name}`, { recursive: true });
  writeFileSync(
    `${dir}/${name}/${name}.bin`,
    crypto
      .getRandomValues(Buffer.alloc(Math.min(bytes, 65536)))
      .toString("hex")
      .repeat(Math.ceil(bytes / 131072)),
  );
  return Buffer.from(Bun.spawnSync(["tar", "-C", `${dir}/${name}`, "-cf", "-", "."]).stdout);
};
async function skopeo(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn(["skopeo", ...args], { stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, out, err };
}
let registry: Awaited<ReturnType<typeof startRegistry>>;
let digest: string;
let store = 0;
const freshBlobs = (): Blobs => openBlobs(`${dir}/store-${++store}`);
const ref = (name: string) => parseReference(`${registry.host}/${name}`)!;
const open = (options: Partial<RegistryOptions> = {}) => createRegistry({ base: `http://${registry.host}`, ...options });

if (WHY_NO_REGISTRY) console.log(`SKIP tests/oci/registry: ${WHY_NO_REGISTRY}`);
const withRegistry = test.skipIf(WHY_NO_REGISTRY !== null);

beforeAll(async () => {
  if (WHY_NO_REGISTRY) return;
  registry = await startRegistry();
  ({ digest } = writeLayout(`${dir}/layout`, "latest", [layer("a", 3_000_000), layer("b", 2_000_000), layer("c", 10)], { Cmd: ["sh"] }));
  await skopeo("copy", "--dest-tls-verify=false", `oci:${dir}/layout:latest`, `docker://${registry.host}/team/app:v1`);
});
afterAll(async () => {
  await registry?.close();
  rmSync(dir, { recursive: true, force: true });
});

withRegistry("a pull brings every blob, verified; a second finds all there", async () => {
  const blobs = freshBlobs();
  const seen: Progress[] = [];
  const image = await createTransfers(blobs).pull(open(), ref("team/app:v1"), "linux/amd64", (p) => void seen.push(p));
  expect(image.digest).toBe(digest);
  expect(image.config.config?.Cmd).toEqual(["sh"]);
  for (const l of image.manifest.layers)
    expect(seen.filter((p) => p.digest === l.digest).at(-1)).toEqual({ digest: l.digest, size: l.size, done: l.size, state: "done" });
  seen.length = 0;
  await createTransfers(blobs).pull(open(), ref("team/app:v1"), "linux/amd64", (p) => void seen.push(p));
  expect(new Set(seen.map((p) => p.state))).toEqual(new Set(["waiting", "there"]));
});

/** The registry behind a counter that can break off answers. */
function proxy(breakAfter: (path: string, time: number) => number | undefined) {
  const asked: { path: string; range: string | null }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const url = new URL(request.url);
      const range = request.headers.get("range");
      const time = asked.filter((a) => a.path === url.pathname).length;
      asked.push({ path: url.pathname, range });
      const answer = await fetch(`http://${registry.host}${url.pathname}${url.search}`, { headers: request.headers });
      const limit = breakAfter(url.pathname, time);
      if (limit === undefined) return answer;
      const bytes = new Uint8Array(await answer.arrayBuffer()).subarray(0, limit);
      return new Response(bytes, { status: answer.status });
    },
  });
  return { base: `http://127.0.0.1:${server.port}`, asked, close: () => server.stop(true) };
}

withRegistry("a line that breaks off goes on where it stopped", async () => {
  const between = proxy((path, time) => (path.includes("/blobs/") && time === 0 ? 1000 : undefined));
  const image = await createTransfers(freshBlobs()).pull(open({ base: between.base }), ref("team/app:v1"), "linux/amd64", () => {});
  expect(image.digest).toBe(digest);
  expect(between.asked.filter((a) => a.range === "bytes=1000-").length).toBeGreaterThanOrEqual(2);
  between.close();
});

withRegistry("what a killed pull left is taken up; what it left damaged is thrown away", async () => {
  const blobs = freshBlobs();
  const layout = JSON.parse(readFileSync(`${dir}/layout/blobs/sha256/${digest.slice(7)}`, "utf8")) as {
    layers: { digest: string; size: number }[];
  };
  const [first, second] = layout.layers as [{ digest: string; size: number }, { digest: string; size: number }];
  const half = async ({ digest: d, size }: { digest: string; size: number }, bytes: Buffer): Promise<void> => {
    const ingest = await blobs.ingest(d.replace(":", "-"));
    ingest.write(bytes.subarray(0, Math.floor(size / 2)));
    ingest.close();
  };
  await half(first, readFileSync(`${dir}/layout/blobs/sha256/${first.digest.slice(7)}`));
  await half(second, Buffer.alloc(second.size));
  const between = proxy(() => undefined);
  const pull = () => createTransfers(blobs).pull(open({ base: between.base }), ref("team/app:v1"), "linux/amd64", () => {});
  await expect(pull()).rejects.toThrow(/What was received is not/);
  expect(between.asked.some((a) => a.range === `bytes=${Math.floor(first.size / 2)}-`)).toBe(true);
  expect((await pull()).digest).toBe(digest);
  between.close();
});

withRegistry("two pulls at once are one", async () => {
  const between = proxy(() => undefined);
  const transfers = createTransfers(freshBlobs());
  const pull = () => transfers.pull(open({ base: between.base }), ref("team/app:v1"), "linux/amd64", () => {});
  await Promise.all([pull(), pull(), pull()]);
  const blobs = between.asked.filter((a) => a.path.includes("/blobs/")).map((a) => a.path);
  expect(blobs.length).toBe(new Set(blobs).size);
  between.close();
});

withRegistry("a blob that is not what its digest says is refused and not kept", async () => {
  const between = proxy(() => undefined);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const url = new URL(request.url);
      const answer = await fetch(`${between.base}${url.pathname}`, { headers: request.headers });
      if (!url.pathname.includes("/blobs/")) return answer;
      const bytes = new Uint8Array(await answer.arrayBuffer());
      bytes[bytes.length >> 1]! ^= 1;
      return new Response(bytes);
    },
  });
  const blobs = freshBlobs();
  const pull = createTransfers(blobs).pull(open({ base: `http://127.0.0.1:${server.port}` }), ref("team/app:v1"), "linux/amd64", () => {});
  await expect(pull).rejects.toThrow(/What was received is not/);
  expect(blobs.has(digest)).toBe(false);
  server.stop(true);
  between.close();
});

withRegistry("a push by us is pulled by others as the same", async () => {
  const transfers = createTransfers(freshBlobs());
  await transfers.pull(open(), ref("team/app:v1"), "linux/amd64", () => {});
  await transfers.push(open({ push: true }), ref("other/copy:v2"), digest, () => {});
  expect(JSON.parse((await skopeo("inspect", "--tls-verify=false", `docker://${registry.host}/other/copy:v2`)).out).Digest).toBe(digest);
});

withRegistry("what is not there, and who may not, is said", async () => {
  const pull = (name: string, platform = "linux/amd64") => createTransfers(freshBlobs()).pull(open(), ref(name), platform, () => {});
  await expect(pull("team/app:nope")).rejects.toThrow(/has no manifest/);
  await expect(pull("team/app:v1", "linux/arm64")).rejects.toThrow(/is made for linux\/amd64/);
});

for (const kind of ["basic", "token"] as const)
  withRegistry(
    `a registry that asks for a login (${kind})`,
    async () => {
      const certificate = async ({ privateKey }: { privateKey: string }): Promise<string> => {
        writeFileSync(`${dir}/key.pem`, privateKey);
        return Bun.spawnSync([
          "openssl",
          "req",
          "-x509",
          "-new",
          "-key",
          `${dir}/key.pem`,
          "-subj",
          "/CN=test",
          "-days",
          "2",
        ]).stdout.toString();
      };
      const tokens = kind === "token" ? await startTokenServer("ann", "secret", certificate) : undefined;
      const guarded = await startRegistry(
        tokens
          ? ({ kind, realm: tokens.realm, certificate: tokens.certificate } as never)
          : { kind: "basic", user: "ann", password: "secret" },
      );
      const at = parseReference(`${guarded.host}/team/app:v1`)!;
      const with_ = (password: string | null, push = false) =>
        createRegistry({ base: `http://${guarded.host}`, push, ...(password !== null && { credentials: { username: "ann", password } }) });
      const transfers = createTransfers(freshBlobs());
      await transfers.pull(open(), ref("team/app:v1"), "linux/amd64", () => {});
      await transfers.push(with_("secret", true), at, digest, () => {});
      expect((await createTransfers(freshBlobs()).pull(with_("secret"), at, "linux/amd64", () => {})).digest).toBe(digest);
      for (const wrong of ["not it", null])
        await expect(createTransfers(freshBlobs()).pull(with_(wrong), at, "linux/amd64", () => {})).rejects.toThrow(
          /does not accept the login|asks for a login|refuses/,
        );
      if (tokens) expect(tokens.asked.every((scope) => scope.startsWith("repository:team/app:"))).toBe(true);
      tokens?.close();
      await guarded.close();
    },
    30_000,
  );

test("where registries are reached: Docker Hub by its other name, http only where it is allowed", () => {
  const rules = { mirrors: { "docker.io": ["https://mirror.example.com"] }, insecure: ["lan:5000"] };
  expect(endpointsOf("docker.io", rules)).toEqual([
    { bases: ["https://mirror.example.com"], mirror: true },
    { bases: ["https://registry-1.docker.io"], mirror: false },
  ]);
  expect(endpointsOf("ghcr.io", rules)).toEqual([{ bases: ["https://ghcr.io"], mirror: false }]);
  for (const host of ["lan:5000", "localhost:5000", "127.0.0.1", "[::1]:5000"])
    expect(endpointsOf(host, rules)).toEqual([{ bases: [`https://${host}`, `http://${host}`], mirror: false }]);
});

withRegistry(
  "a mirror is asked first, and one that fails is passed over",
  async () => {
    const between = proxy(() => undefined);
    const stored: NewEvent[] = [];
    const pull = async (mirror: string): Promise<void> => {
      const mover = createMover({
        blobs: freshBlobs(),
        state: emptyState,
        append: async (events) => void stored.push(...events),
        newId: () => "i-new",
        agents: {} as never,
        registries: { mirrors: { [registry.host]: [mirror] }, insecure: [] },
        log: () => {},
      });
      const how = { platform: "linux/amd64", insecure: false, credentials: undefined, actor: "t", signal: new AbortController().signal };
      expect(await mover.pull(`${registry.host}/team/app:v1`, how, () => {})).toBe("i-new");
    };
    await pull(between.base);
    expect(between.asked.length).toBeGreaterThan(3);
    await pull("http://127.0.0.1:1");
    expect(stored.map((e) => [e.type, (e.data as { digest: string }).digest])).toEqual([
      ["v1.ImageStored", digest],
      ["v1.ImageStored", digest],
    ]);
    between.close();
  },
  30_000,
);

// ---- our own registry ----

let control: FakeControl;
beforeAll(async () => void (control = await startFakeControl()));
afterAll(() => control.close());
const ours = (name: string): string => `docker://${control.url.slice("http://".length)}/${name}`;
const creds = (): string => `any:${control.token}`;

test.skipIf(!Bun.which("skopeo"))("skopeo pushes to ours, and what it pushed is an image", async () => {
  const { digest: d } = writeLayout(`${dir}/mine`, "latest", [layer("d", 100_000)], { Entrypoint: ["/app"], User: "7" });
  const pushed = await skopeo("copy", "--dest-tls-verify=false", `--dest-creds=${creds()}`, `oci:${dir}/mine:latest`, ours("team/mine:v1"));
  expect([pushed.code, pushed.err]).toEqual([0, expect.any(String)]);
  const image = (await control.client.listImages()).items.find((i) => i.name === "team/mine:v1")!;
  expect([image.digest, image.run?.entrypoint, image.run?.user, image.platform]).toEqual([d, ["/app"], "7", "linux/amd64"]);
  const back = await skopeo("copy", "--src-tls-verify=false", `--src-creds=${creds()}`, ours("team/mine:v1"), `oci:${dir}/back:latest`);
  expect(back.code).toBe(0);
  expect(existsSync(`${dir}/back/blobs/sha256/${d.slice(7)}`)).toBe(true);
  const tags = JSON.parse((await skopeo("list-tags", "--tls-verify=false", `--creds=${creds()}`, ours("team/mine"))).out) as {
    Tags: string[];
  };
  expect(tags.Tags).toEqual(["v1"]);
  expect((await skopeo("inspect", "--tls-verify=false", "--creds=any:wrong", ours("team/mine:v1"))).code).not.toBe(0);
});

/** The distribution specification, line by line, where clients do not lead. */
test("our registry: uploads in chunks, ranges, mounts, tags, and what it refuses", async () => {
  const auth = { authorization: `Basic ${btoa(creds())}` };
  const ask = (method: string, path: string, more: RequestInit = {}) =>
    fetch(`${control.url}${path}`, { method, ...more, headers: { ...auth, ...(more.headers as object) } });
  const bytes = Buffer.from("chunked upload");
  const blob = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
  expect((await fetch(`${control.url}/v2/`)).headers.get("www-authenticate")).toBe('Basic realm="hyperlane"');
  expect((await ask("GET", "/v2/")).status).toBe(200);
  const begun = await ask("POST", "/v2/x/y/blobs/uploads/");
  const at = begun.headers.get("location")!;
  const chunk = (from: number, to: number) =>
    ask("PATCH", at, { body: bytes.subarray(from, to), headers: { "content-range": `${from}-${to - 1}` } });
  expect((await chunk(0, 5)).headers.get("range")).toBe("0-4");
  expect((await chunk(9, 14)).status).toBe(416);
  expect((await ask("GET", at)).headers.get("range")).toBe("0-4");
  expect((await chunk(5, 14)).status).toBe(202);
  expect((await ask("PUT", `${at}?digest=${blob}`)).status).toBe(201);
  expect((await ask("GET", at)).status).toBe(404);
  expect(await (await ask("GET", `/v2/x/y/blobs/${blob}`, { headers: { range: "bytes=8-" } })).text()).toBe("upload");
  expect((await ask("HEAD", `/v2/x/y/blobs/${blob}`)).headers.get("content-length")).toBe("14");
  expect((await ask("POST", `/v2/other/blobs/uploads/?mount=${blob}&from=x/y`)).status).toBe(201);
  const wrong = await ask("POST", `/v2/x/y/blobs/uploads/?digest=sha256:${"0".repeat(64)}`, { body: "other" });
  expect([wrong.status, ((await wrong.json()) as { errors: { code: string }[] }).errors[0]!.code]).toEqual([400, "DIGEST_INVALID"]);
  const manifest = (config: string) =>
    JSON.stringify({ schemaVersion: 2, config: { mediaType: "application/vnd.oci.empty.v1+json", digest: config, size: 14 }, layers: [] });
  const missing = await ask("PUT", "/v2/x/y/manifests/v1", { body: manifest(`sha256:${"1".repeat(64)}`) });
  expect(((await missing.json()) as { errors: { code: string }[] }).errors[0]!.code).toBe("MANIFEST_BLOB_UNKNOWN");
  for (const body of ["", "{}", "[]", "not json"]) expect((await ask("PUT", "/v2/x/y/manifests/v1", { body })).status).toBe(400);
  const put = await ask("PUT", "/v2/x/y/manifests/v1", { body: manifest(blob) });
  expect(put.status).toBe(201);
  expect((await ask("GET", `/v2/x/y/manifests/${put.headers.get("docker-content-digest")}`)).status).toBe(200);
  // Signatures and the like: manifests about another, found by it, by their kind, and kept for as long as it is.
  const subject = put.headers.get("docker-content-digest")!;
  const about = (artifactType: string) =>
    JSON.stringify({
      ...JSON.parse(manifest(blob)),
      artifactType,
      subject: { mediaType: "x/y", digest: subject, size: 1 },
      annotations: { a: "b" },
    });
  const digests = ["text/signature", "text/sbom"].map(
    (kind) => `sha256:${new Bun.CryptoHasher("sha256").update(about(kind)).digest("hex")}`,
  );
  for (const [i, kind] of ["text/signature", "text/sbom"].entries()) {
    const answer = await ask("PUT", `/v2/x/y/manifests/${digests[i]}`, { body: about(kind) });
    expect([answer.status, answer.headers.get("oci-subject")]).toEqual([201, subject]);
  }
  const referrers = async (query = "") =>
    (await (await ask("GET", `/v2/x/y/referrers/${subject}${query}`)).json()) as { manifests: { digest: string }[] };
  expect((await referrers()).manifests.map((m) => m.digest)).toEqual(digests.toSorted());
  const signatures = await ask("GET", `/v2/x/y/referrers/${subject}?artifactType=text/signature`);
  expect(signatures.headers.get("oci-filters-applied")).toBe("artifactType");
  expect(await signatures.json()).toEqual({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: digests[0]!,
        size: about("text/signature").length,
        artifactType: "text/signature",
        annotations: { a: "b" },
      },
    ],
  });
  const kept = openBlobs(`${control.dir}/registry`);
  const state = emptyState();
  const nothing = { rootfs: null, run: null, platform: null, bytes: 0, from: null, reason: null, createdAt: 0 };
  state.image.set("i-1", { id: "i-1", name: "x/y:v1", state: "ready", digest: subject, target: subject, ...nothing });
  expect([...digests].every((d) => reachable(state, kept).has(d))).toBe(true);
  expect((await ask("DELETE", `/v2/x/y/manifests/${digests[0]}`)).status).toBe(202);
  expect((await referrers()).manifests.map((m) => m.digest)).toEqual([digests[1]!]);
  expect((await ((await ask("GET", `/v2/x/y/referrers/sha256:${"2".repeat(64)}`)).json() as Promise<{ manifests: [] }>)).manifests).toEqual(
    [],
  );
  // A thing that is no image of a file system is kept, and no machine is made from it.
  await expect(control.client.createMachine({ body: { name: "none", spec: { image: "x/y:v1" } } })).rejects.toThrow(
    /no image that a machine can be made from/,
  );
  for (const path of [
    "/v2/../secret/manifests/x",
    "/v2/UP/manifests/x",
    "/v2/a/blobs/../../x",
    "/v2/a/manifests/..%2f..",
    "/v2/a/blobs/sha256:zz",
  ])
    expect([path, (await ask("GET", path)).status >= 400]).toEqual([path, true]);
  expect((await ask("DELETE", "/v2/x/y/manifests/v1")).status).toBe(202);
  expect((await ask("GET", "/v2/x/y/manifests/v1")).status).toBe(404);
  const viewer = await control.client.createToken({ body: { name: "looker", role: "viewer" } });
  const read = { authorization: `Basic ${btoa(`x:${viewer.secret}`)}` };
  expect((await fetch(`${control.url}/v2/`, { headers: read })).status).toBe(200);
  expect((await fetch(`${control.url}/v2/a/blobs/uploads/`, { method: "POST", headers: read })).status).toBe(403);
});

test("what nothing refers to goes; what somebody is about to refer to stays", async () => {
  const blobs = openBlobs(`${dir}/gc`);
  const [old, promised, used] = ["old", "promised", "used"].map((t) => blobs.put(Buffer.from(t))) as [string, string, string];
  blobs.release([old, used]);
  // As if it lay there since long before this process.
  for (const d of [old, used]) Bun.spawnSync(["touch", "-d", "2 days ago", blobs.path(d)]);
  expect(blobs.sweep(new Set([used]))).toBe(3);
  expect([old, promised, used].map((d) => blobs.has(d))).toEqual([false, true, true]);
  truncateSync(blobs.path(used), 0);
});
