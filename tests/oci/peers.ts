/** Real peers on loopback for image tests: Debian's docker-registry, a token server in front of it, and images made here. */
import { createHash, generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { gzipSync } from "node:zlib";

export const WHY_NO_REGISTRY = Bun.which("docker-registry") ? null : "docker-registry is not installed";
type Auth = { kind: "none" } | { kind: "basic"; user: string; password: string } | { kind: "token"; realm: string; certificate: string };

/** A real registry. close() ends it and removes what it held. */
export async function startRegistry(auth: Auth = { kind: "none" }) {
  const dir = mkdtempSync(`${tmpdir()}/hl-registry-`);
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  const host = `127.0.0.1:${port}`;
  if (auth.kind === "basic")
    writeFileSync(`${dir}/htpasswd`, `${auth.user}:${await Bun.password.hash(auth.password, { algorithm: "bcrypt", cost: 4 })}\n`);
  if (auth.kind === "token") writeFileSync(`${dir}/root.pem`, auth.certificate);
  const how =
    auth.kind === "basic"
      ? { auth: { htpasswd: { realm: "test", path: `${dir}/htpasswd` } } }
      : auth.kind === "token"
        ? { auth: { token: { realm: auth.realm, service: "test", issuer: "test", rootcertbundle: `${dir}/root.pem` } } }
        : {};
  const config = {
    version: "0.1",
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: `${dir}/data` } },
    http: { addr: host },
    ...how,
  };
  writeFileSync(`${dir}/config.yml`, JSON.stringify(config));
  const child = Bun.spawn(["docker-registry", "serve", `${dir}/config.yml`], { stdout: "ignore", stderr: "pipe" });
  for (const deadline = Date.now() + 10_000; ; await Bun.sleep(20)) {
    if (
      await fetch(`http://${host}/v2/`).then(
        () => true,
        () => false,
      )
    )
      break;
    if (Date.now() > deadline || child.exitCode !== null)
      throw new Error(`docker-registry did not start: ${await new Response(child.stderr).text()}`);
  }
  return {
    host,
    async close(): Promise<void> {
      child.kill();
      await child.exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Distribution's token authentication: a server that signs tokens for one user, as the registry's certificate says it may. */
export async function startTokenServer(
  user: string,
  password: string,
  makeCertificate: (key: { privateKey: string; publicKey: string }) => Promise<string>,
) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const certificate = await makeCertificate({ privateKey, publicKey });
  const asked: string[] = [];
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const basic = Buffer.from(request.headers.get("authorization")?.replace(/^Basic /, "") ?? "", "base64").toString();
      if (basic !== `${user}:${password}`) return new Response("no", { status: 401 });
      const scope = new URL(request.url).searchParams.get("scope") ?? "";
      asked.push(scope);
      const [type, name, actions = ""] = scope.split(":");
      const now = Math.floor(Date.now() / 1000);
      const x5c = [new X509Certificate(certificate).raw.toString("base64")];
      const claims = {
        iss: "test",
        sub: user,
        aud: "test",
        exp: now + 300,
        nbf: now - 10,
        iat: now,
        jti: crypto.randomUUID(),
        access: [{ type, name, actions: actions.split(",") }],
      };
      const body = `${part({ typ: "JWT", alg: "ES256", x5c })}.${part(claims)}`;
      const signature = sign("sha256", Buffer.from(body), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
      return Response.json({ token: `${body}.${signature}`, expires_in: 300 });
    },
  });
  return { realm: `http://127.0.0.1:${server.port}/token`, certificate, asked, close: () => server.stop(true) };
}

/** An OCI layout directory with one image, from layers' tar archives. */
export function writeLayout(dir: string, tag: string, layers: Buffer[], config: object): { digest: string } {
  return writeImages(dir, [{ tag, layers, config }])[0]!;
}

/** With several, that may have layers in common. */
export function writeImages(dir: string, images: { tag: string; layers: Buffer[]; config: object }[]): { digest: string }[] {
  mkdirSync(`${dir}/blobs/sha256`, { recursive: true });
  const put = (bytes: Buffer) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(`${dir}/blobs/sha256/${hex}`, bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const type = "application/vnd.oci.image";
  const stored = new Map<Buffer, { diffId: string; part: object }>();
  const store = (layer: Buffer) => {
    const diffId = `sha256:${createHash("sha256").update(layer).digest("hex")}`;
    const made = stored.get(layer) ?? { diffId, part: { mediaType: `${type}.layer.v1.tar+gzip`, ...put(gzipSync(layer, { level: 1 })) } };
    stored.set(layer, made);
    return made;
  };
  const manifests = images.map(({ tag, layers, config }) => {
    const parts = layers.map(store);
    const image = {
      architecture: "amd64",
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: parts.map((p) => p.diffId) },
      history: layers.map(() => ({ created_by: "test" })),
    };
    const configuration = { mediaType: `${type}.config.v1+json`, ...put(Buffer.from(JSON.stringify(image))) };
    const manifest = { schemaVersion: 2, mediaType: `${type}.manifest.v1+json`, config: configuration, layers: parts.map((p) => p.part) };
    const annotations = { "org.opencontainers.image.ref.name": tag };
    return { mediaType: manifest.mediaType, ...put(Buffer.from(JSON.stringify(manifest))), annotations };
  });
  writeFileSync(`${dir}/oci-layout`, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(`${dir}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
  return manifests;
}

/** A directory as a tar archive, as image builders make layers. */
export async function tarOf(dir: string): Promise<Buffer> {
  const argv = ["tar", "-C", dir, "--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-cf", "-", "."];
  return Buffer.from(await new Response(Bun.spawn(argv, { stdout: "pipe" }).stdout).arrayBuffer());
}
