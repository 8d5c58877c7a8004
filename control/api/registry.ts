/**
 * A registry of the OCI distribution specification 1.1 on /v2/, over the control plane's own images: what is pushed
 * here can be run, what is there can be pulled. A repository is an image's familiar name, so `docker push
 * HOST/app:v1` makes the image `app:v1`. Logs in with any user name and an API token as the password.
 */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { Index, isIndex, Manifest, MANIFEST_MAX_BYTES, MEDIA } from "#contract/oci/manifest.ts";
import { DIGEST, familiarName, familiarRepository, parseReference } from "#contract/oci/reference.ts";
import { allows } from "#control/auth/tokens.ts";
import { imageNamed, type State, type StoredToken } from "#control/model/state.ts";
import { digestOf, type Blobs, type Ingest } from "#oci/blobs.ts";
import { tokenOf, type Deps } from "./handler.ts";

/** The specification's error codes. */
class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;
  constructor(status: number, code: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}
type Call = { deps: Deps; blobs: Blobs; request: Request; url: URL; token: StoredToken; repository: string };

const ROUTES: readonly { methods: readonly string[]; path: RegExp; run(call: Call, at: string): Promise<Response> | Response }[] = [
  { methods: ["GET", "HEAD"], path: /^(.+)\/manifests\/([^/]+)$/, run: getManifest },
  { methods: ["PUT"], path: /^(.+)\/manifests\/([^/]+)$/, run: putManifest },
  { methods: ["DELETE"], path: /^(.+)\/manifests\/([^/]+)$/, run: removeManifest },
  { methods: ["POST"], path: /^(.+)\/blobs\/uploads\/?()$/, run: beginUpload },
  { methods: ["GET", "PATCH", "PUT", "DELETE"], path: /^(.+)\/blobs\/uploads\/([0-9a-f-]{36})$/, run: upload },
  { methods: ["GET", "HEAD"], path: /^(.+)\/blobs\/([^/]+)$/, run: getBlob },
  { methods: ["GET"], path: /^(.+)\/tags\/list()$/, run: listTags },
  { methods: ["GET"], path: /^(.+)\/referrers\/([^/]+)$/, run: listReferrers },
];

export async function serveRegistry(deps: Deps, request: Request, url: URL, log: (line: string) => void): Promise<Response> {
  try {
    if (deps.store.dead) throw deps.store.dead;
    const writes = !["GET", "HEAD"].includes(request.method);
    const token = await authenticate(deps, request, writes);
    const path = url.pathname.replace(/^\/v2\/?/, "");
    if (path === "") return json(200, {});
    if (path === "_catalog") return catalog(deps.store.state, url);
    for (const route of ROUTES) {
      const match = route.methods.includes(request.method) ? route.path.exec(path) : null;
      if (!match) continue;
      const repository = repositoryOf(match[1]!);
      return await route.run({ deps, blobs: deps.images.blobs, request, url, token, repository }, decodeURIComponent(match[2]!));
    }
    throw new Refusal(ROUTES.some((r) => r.path.test(path)) ? 405 : 404, "UNSUPPORTED", `${request.method} is not possible there`);
  } catch (thrown) {
    return refuse(thrown, log);
  }
}

function refuse(thrown: unknown, log: (line: string) => void): Response {
  if (thrown instanceof Refusal) return json(thrown.status, { errors: [{ code: thrown.code, message: thrown.message }] }, thrown.headers);
  const error = toHyperlaneError(thrown);
  if (error.code === "BUG") log(`registry: ${error.stack ?? error.message}`);
  const [status, code] =
    error.code === "CORRUPT" ? [400, "DIGEST_INVALID"] : error.code === "INVALID" ? [400, "NAME_INVALID"] : [500, "UNKNOWN"];
  return json(status, { errors: [{ code, message: error.message }] });
}

async function authenticate(deps: Deps, request: Request, writes: boolean): Promise<StoredToken> {
  const header = request.headers.get("authorization") ?? "";
  const basic = /^Basic (\S+)$/i.exec(header)?.[1];
  const secret = basic ? Buffer.from(basic, "base64").toString().split(/:(.*)/s)[1] : /^Bearer (\S+)$/i.exec(header)?.[1];
  const token = secret ? await tokenOf(deps, secret) : undefined;
  if (!token)
    throw new Refusal(401, "UNAUTHORIZED", "log in with an API token as the password", { "www-authenticate": 'Basic realm="hyperlane"' });
  if (!allows(token.role, writes ? "write" : "read")) throw new Refusal(403, "DENIED", `the token "${token.name}" may only read`);
  return token;
}

function repositoryOf(path: string): string {
  const reference = parseReference(path);
  if (!reference || /[@:]/.test(path.split("/").at(-1)!)) throw new Refusal(400, "NAME_INVALID", `"${path}" is no repository`);
  return familiarRepository(reference);
}

function nameOf(repository: string, tag: string): string {
  const reference = parseReference(`${repository}:${tag}`);
  if (!reference) throw new Refusal(400, "TAG_INVALID", `"${tag}" is no tag`);
  return familiarName(reference);
}

function getManifest({ deps, blobs, request, repository }: Call, reference: string): Response {
  const digest = DIGEST.test(reference) ? reference : imageNamed(deps.store.state, nameOf(repository, reference))?.target;
  if (!digest || !blobs.has(digest) || blobs.size(digest) > MANIFEST_MAX_BYTES)
    throw new Refusal(404, "MANIFEST_UNKNOWN", `${repository} has no ${reference}`);
  const bytes = blobs.read(digest);
  const type = mediaTypeOf(bytes);
  if (type === undefined) throw new Refusal(404, "MANIFEST_UNKNOWN", `${reference} is no manifest`);
  blobs.touch(digest);
  const headers = { "content-type": type, "docker-content-digest": digest, "content-length": String(bytes.length) };
  return new Response(request.method === "HEAD" ? null : new Uint8Array(bytes), { headers });
}

/** The manifest that this one is about (image-spec, "subject"). */
function subjectOf(doc: unknown): string | undefined {
  const digest = (doc as { subject?: { digest?: unknown } } | null)?.subject?.digest;
  return typeof digest === "string" && DIGEST.test(digest) ? digest : undefined;
}

/** What is about a manifest, as an index: an empty one where nothing is. */
function listReferrers({ blobs, url }: Call, subject: string): Response {
  if (!DIGEST.test(subject)) throw new Refusal(400, "DIGEST_INVALID", `"${subject}" is no sha256 digest`);
  const wanted = url.searchParams.get("artifactType");
  const manifests = blobs.referrers(subject).flatMap((digest) => {
    const bytes = blobs.read(digest);
    const doc = JSON.parse(bytes.toString()) as { artifactType?: string; config?: { mediaType?: string }; annotations?: object };
    const artifactType = doc.artifactType ?? doc.config?.mediaType;
    if (wanted !== null && artifactType !== wanted) return [];
    return [{ mediaType: mediaTypeOf(bytes), digest, size: bytes.length, artifactType, annotations: doc.annotations }];
  });
  const headers = { "content-type": MEDIA.index, ...(wanted !== null && { "oci-filters-applied": "artifactType" }) };
  return json(200, { schemaVersion: 2, mediaType: MEDIA.index, manifests }, headers);
}

/** undefined: it is no manifest at all. */
function mediaTypeOf(bytes: Buffer): string | undefined {
  try {
    const doc = JSON.parse(bytes.toString()) as { mediaType?: string; schemaVersion?: number };
    if (doc?.schemaVersion !== 2) return undefined;
    return doc.mediaType ?? (isIndex(doc) ? MEDIA.index : MEDIA.manifest);
  } catch {
    return undefined;
  }
}

async function putManifest({ deps, blobs, request, token, repository }: Call, reference: string): Promise<Response> {
  if (Number(request.headers.get("content-length")) > MANIFEST_MAX_BYTES)
    throw new Refusal(413, "SIZE_INVALID", "a manifest may have 4 MiB");
  const bytes = Buffer.from(await request.arrayBuffer());
  if (bytes.length > MANIFEST_MAX_BYTES) throw new Refusal(413, "SIZE_INVALID", "a manifest may have 4 MiB");
  const type = mediaTypeOf(bytes);
  if (type === undefined) throw new Refusal(400, "MANIFEST_INVALID", "it is no manifest of schema version 2");
  const doc: unknown = JSON.parse(bytes.toString());
  for (const part of partsOf(doc))
    if (!blobs.has(part)) throw new Refusal(404, "MANIFEST_BLOB_UNKNOWN", `${part} is not here: push it first`);
  const byDigest = DIGEST.test(reference);
  if (byDigest && digestOf(bytes) !== reference) throw new Refusal(400, "DIGEST_INVALID", "the manifest is not what its digest says");
  const name = byDigest ? undefined : nameOf(repository, reference);
  const digest = blobs.put(bytes);
  for (const part of partsOf(doc)) blobs.touch(part);
  if (name !== undefined) await deps.images.keep(name, digest, undefined, token.id);
  const subject = subjectOf(doc);
  if (subject !== undefined) blobs.refer(subject, digest);
  return new Response(null, {
    status: 201,
    headers: {
      location: `/v2/${repository}/manifests/${digest}`,
      "docker-content-digest": digest,
      ...(subject !== undefined && { "oci-subject": subject }),
    },
  });
}

function partsOf(doc: unknown): string[] {
  if (isIndex(doc)) {
    const index = Index.safeParse(doc);
    if (!index.success) throw new Refusal(400, "MANIFEST_INVALID", "the index cannot be read");
    return index.data.manifests.map((m) => m.digest);
  }
  const manifest = Manifest.safeParse(doc);
  if (!manifest.success) throw new Refusal(400, "MANIFEST_INVALID", `${manifest.error.issues[0]?.path.join(".")} is not as it should be`);
  return [manifest.data.config.digest, ...manifest.data.layers.map((l) => l.digest)];
}

async function removeManifest({ deps, blobs, token, repository }: Call, reference: string): Promise<Response> {
  const { state } = deps.store;
  const about = DIGEST.test(reference) && blobs.has(reference) ? subjectOf(JSON.parse(blobs.read(reference).toString())) : undefined;
  if (about !== undefined) blobs.unrefer(about, reference);
  const gone = DIGEST.test(reference)
    ? [...state.image.values()].filter((i) => i.target === reference && i.name.startsWith(`${repository}:`))
    : [imageNamed(state, nameOf(repository, reference))].filter((i) => i !== undefined);
  if (!gone.length && about === undefined) throw new Refusal(404, "MANIFEST_UNKNOWN", `${repository} has no ${reference}`);
  await deps.store.append(gone.map((i) => ({ type: "v1.ImageRemoved", subject: i.id, actor: token.id, data: {} })));
  deps.images.collectSoon();
  return new Response(null, { status: 202 });
}

function getBlob({ blobs, request, repository }: Call, digest: string): Response {
  if (!DIGEST.test(digest) || !blobs.has(digest)) throw new Refusal(404, "BLOB_UNKNOWN", `${repository} has no ${digest}`);
  blobs.touch(digest);
  const size = blobs.size(digest);
  const headers = { "content-type": "application/octet-stream", "docker-content-digest": digest, "accept-ranges": "bytes" };
  if (request.method === "HEAD") return new Response(null, { headers: { ...headers, "content-length": String(size) } });
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
  const file = Bun.file(blobs.path(digest));
  if (!range) return new Response(file, { headers });
  const [from, to] = [Number(range[1]), Math.min(range[2] ? Number(range[2]) : size - 1, size - 1)];
  if (from > to) throw new Refusal(416, "BLOB_UPLOAD_INVALID", "the range is not satisfiable", { "content-range": `bytes */${size}` });
  return new Response(file.slice(from, to + 1), { status: 206, headers: { ...headers, "content-range": `bytes ${from}-${to}/${size}` } });
}

async function beginUpload(call: Call): Promise<Response> {
  const { blobs, url, repository } = call;
  const mount = url.searchParams.get("mount");
  if (mount && DIGEST.test(mount) && blobs.has(mount)) return created(call, mount);
  const digest = url.searchParams.get("digest");
  const id = crypto.randomUUID();
  const ingest = blobs.ingest(`upload-${id}`);
  if (digest) return await finish(call, ingest, digest);
  ingest.close();
  return new Response(null, { status: 202, headers: uploadHeaders(repository, id, 0) });
}

async function upload(call: Call, id: string): Promise<Response> {
  const { blobs, request, url, repository } = call;
  if (!blobs.hasIngest(`upload-${id}`)) throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload");
  const ingest = blobs.ingest(`upload-${id}`);
  try {
    if (request.method === "DELETE") return (ingest.discard(), new Response(null, { status: 204 }));
    if (request.method === "GET") return new Response(null, { status: 204, headers: uploadHeaders(repository, id, ingest.size) });
    const from = /^(\d+)-(\d+)$/.exec(request.headers.get("content-range") ?? "")?.[1];
    if (from !== undefined && Number(from) !== ingest.size)
      throw new Refusal(416, "BLOB_UPLOAD_INVALID", `it goes on at ${ingest.size}`, uploadHeaders(repository, id, ingest.size));
    if (request.method === "PUT") {
      const digest = url.searchParams.get("digest") ?? "";
      return await finish(call, ingest, digest);
    }
    await take(request, ingest);
    return new Response(null, { status: 202, headers: uploadHeaders(repository, id, ingest.size) });
  } finally {
    ingest.close();
  }
}

async function finish(call: Call, ingest: Ingest, digest: string): Promise<Response> {
  if (!DIGEST.test(digest)) throw new Refusal(400, "DIGEST_INVALID", `"${digest}" is no sha256 digest`);
  await take(call.request, ingest);
  await ingest.commit(digest);
  return created(call, digest);
}

async function take(request: Request, ingest: Ingest): Promise<void> {
  try {
    for await (const bytes of (request.body ?? []) as AsyncIterable<Uint8Array>) ingest.write(bytes);
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOSPC") throw new HyperlaneError("NO_SPACE", "The disk is full.", { cause });
    throw cause;
  }
}

function created({ blobs, repository }: Call, digest: string): Response {
  blobs.touch(digest);
  return new Response(null, { status: 201, headers: { location: `/v2/${repository}/blobs/${digest}`, "docker-content-digest": digest } });
}

function uploadHeaders(repository: string, id: string, size: number): Record<string, string> {
  return {
    location: `/v2/${repository}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    "docker-upload-uuid": id,
    "oci-chunk-min-length": "1",
  };
}

function listTags({ deps, url, repository }: Call): Response {
  const tags = [...deps.store.state.image.values()]
    .filter((i) => i.target !== null && i.name.startsWith(`${repository}:`))
    .map((i) => i.name.slice(repository.length + 1))
    .sort();
  if (!tags.length) throw new Refusal(404, "NAME_UNKNOWN", `there is no repository "${repository}"`);
  const { items, headers } = page(tags, url);
  return json(200, { name: repository, tags: items }, headers);
}

function catalog(state: State, url: URL): Response {
  const all = [...state.image.values()].flatMap((i) =>
    i.target !== null && i.name.includes(":") ? [i.name.slice(0, i.name.lastIndexOf(":"))] : [],
  );
  const { items, headers } = page([...new Set(all)].sort(), url);
  return json(200, { repositories: items }, headers);
}

/** n and last, with a Link to the rest (RFC 5988). */
function page(all: string[], url: URL): { items: string[]; headers: Record<string, string> } {
  const last = url.searchParams.get("last");
  const rest = last === null ? all : all.filter((x) => x > last);
  const n = url.searchParams.get("n");
  const items = n === null ? rest : rest.slice(0, Math.max(0, Number(n) || 0));
  if (!items.length || items.length === rest.length) return { items, headers: {} };
  const query = new URLSearchParams({ n: n!, last: items.at(-1)! });
  return { items, headers: { link: `<${url.pathname}?${query}>; rel="next"` } };
}

function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "docker-distribution-api-version": "registry/2.0", ...headers },
  });
}
