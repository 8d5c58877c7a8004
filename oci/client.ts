/**
 * A client of the OCI distribution specification 1.1. One object per registry and caller: it holds the bearer tokens
 * it was given. Nothing it returns is verified; whoever keeps bytes verifies them (blobs.ts).
 */
import { HyperlaneError } from "#contract/errors.ts";
import { INDEX_TYPES, MANIFEST_MAX_BYTES, MANIFEST_TYPES } from "#contract/oci/manifest.ts";
import { parseChallenge, type Challenge } from "./challenge.ts";

/** identityToken: an OAuth2 refresh token, as `docker login` keeps for some registries. */
export type Credentials = { username: string; password: string } | { identityToken: string };
/** base: where it is reached, like https://registry-1.docker.io. push: ask for rights to write as well. */
export type RegistryOptions = { base: string; credentials?: Credentials | undefined; push?: boolean; signal?: AbortSignal | undefined };
export type Registry = ReturnType<typeof createRegistry>;

const TRIES = 4;
const RETRY_MS = 300;
const UPLOAD_CHUNK_BYTES = 16 * 1024 * 1024;

export function createRegistry({ base, credentials, push = false, signal }: RegistryOptions) {
  const tokens = new Map<string, { header: string; until: number }>();
  const host = new URL(base).host;

  /** One request, signed as the registry asks; repeated where the network or the registry fails for a moment. */
  async function send(repository: string, url: string, init: RequestInit & { once?: boolean } = {}): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await signed(repository, new URL(url, base), init);
        if (response.status < 500 && response.status !== 429) return response;
        if (init.once || attempt === TRIES) return response;
        await response.body?.cancel();
      } catch (cause) {
        if (signal?.aborted || init.once || attempt === TRIES || cause instanceof HyperlaneError) throw reach(cause);
      }
      await Bun.sleep(RETRY_MS * 2 ** attempt);
    }
  }

  function reach(cause: unknown): unknown {
    if (cause instanceof HyperlaneError || signal?.aborted) return cause;
    return new HyperlaneError("UNAVAILABLE", `Cannot reach the registry ${host}: ${(cause as Error).message}`, {
      hint: "Check the name and the network. A registry without TLS must be allowed: --insecure.",
      cause,
    });
  }

  async function signed(repository: string, url: URL, init: RequestInit): Promise<Response> {
    const scope = `repository:${repository}:${push ? "pull,push" : "pull"}`;
    const known = tokens.get(scope);
    const header = known && known.until > Date.now() ? known.header : undefined;
    const response = await follow(url, init, header);
    if (response.status !== 401) return response;
    await response.body?.cancel();
    const challenge = parseChallenge(response.headers.get("www-authenticate") ?? "");
    const fresh = await authorize(challenge, scope);
    tokens.set(scope, fresh);
    return await follow(url, init, fresh.header);
  }

  /** Redirects by hand: the token is for the registry and not for where its blobs lie. */
  async function follow(url: URL, init: RequestInit, header: string | undefined): Promise<Response> {
    let at = url;
    for (let hop = 0; hop < 5; hop++) {
      const headers = new Headers(init.headers);
      if (header && at.host === host) headers.set("authorization", header);
      const response = await fetch(at, {
        ...init,
        headers,
        redirect: "manual",
        ...(signal && { signal }),
        decompress: false,
      } as RequestInit);
      const to = response.headers.get("location");
      if (response.status < 301 || response.status > 308 || response.status === 304 || !to) return response;
      await response.body?.cancel();
      at = new URL(to, at);
    }
    throw new HyperlaneError("UNAVAILABLE", `The registry ${host} sends in circles.`);
  }

  async function authorize(challenge: Challenge | undefined, scope: string): Promise<{ header: string; until: number }> {
    const basic = credentials && "username" in credentials ? btoa(`${credentials.username}:${credentials.password}`) : undefined;
    if (challenge?.scheme === "basic") {
      if (basic) return { header: `Basic ${basic}`, until: Infinity };
      throw new HyperlaneError("UNAUTHENTICATED", `The registry ${host} asks for a login.`, { hint: LOGIN_HINT(host) });
    }
    if (challenge?.scheme !== "bearer" || !challenge.realm)
      throw new HyperlaneError("UNAUTHENTICATED", `The registry ${host} refuses, and does not say how to log in.`, {
        hint: LOGIN_HINT(host),
      });
    const realm = new URL(challenge.realm);
    const form = new URLSearchParams({ scope: challenge.scope ?? scope, ...(challenge.service && { service: challenge.service }) });
    const viaRefresh = credentials && "identityToken" in credentials;
    if (viaRefresh) {
      form.set("grant_type", "refresh_token");
      form.set("client_id", "hyperlane");
      form.set("refresh_token", credentials.identityToken);
    } else for (const [k, v] of form) realm.searchParams.append(k, v);
    const response = await fetch(realm, {
      ...(viaRefresh ? { method: "POST", body: form } : { headers: basic ? { authorization: `Basic ${basic}` } : {} }),
      ...(signal && { signal }),
    });
    if (!response.ok)
      throw new HyperlaneError("UNAUTHENTICATED", `The registry ${host} does not accept the login (${response.status}).`, {
        hint: LOGIN_HINT(host),
      });
    const answer = (await response.json()) as { token?: string; access_token?: string; expires_in?: number };
    const token = answer.token ?? answer.access_token;
    if (!token) throw new HyperlaneError("UNAUTHENTICATED", `The token server of ${host} gave no token.`);
    return { header: `Bearer ${token}`, until: Date.now() + Math.max(30, (answer.expires_in ?? 60) - 10) * 1000 };
  }

  /** What went wrong, in the registry's own words (errors[].code and .message). */
  async function refuse(response: Response, what: string): Promise<never> {
    const body = (await response.json().catch(() => null)) as { errors?: { code?: string; message?: string }[] } | null;
    const said = body?.errors?.[0];
    const why = said ? `${said.code ?? ""} ${said.message ?? ""}`.trim() : `HTTP ${response.status}`;
    if (response.status === 404) throw new HyperlaneError("NOT_FOUND", `${host} has no ${what}.`, { hint: "Check name and tag." });
    if (response.status === 401 || response.status === 403)
      throw new HyperlaneError("UNAUTHENTICATED", `${host} refuses ${what}: ${why}.`, { hint: LOGIN_HINT(host) });
    if (response.status === 429)
      throw new HyperlaneError("UNAVAILABLE", `${host} limits how often it may be asked: ${why}.`, {
        hint: `Log in (docker login ${host}), or use a mirror.`,
      });
    throw new HyperlaneError("UNAVAILABLE", `${host} failed on ${what}: ${why}.`);
  }

  return {
    host,
    /** reference: a tag or a digest. */
    async manifest(repository: string, reference: string): Promise<{ bytes: Buffer; mediaType: string }> {
      const response = await send(repository, `/v2/${repository}/manifests/${reference}`, {
        headers: { accept: [...MANIFEST_TYPES, ...INDEX_TYPES].join(", ") },
      });
      if (!response.ok) return await refuse(response, `manifest "${repository}:${reference}"`);
      if (Number(response.headers.get("content-length")) > MANIFEST_MAX_BYTES)
        throw new HyperlaneError("TOO_LARGE", `The manifest of "${repository}" is larger than 4 MiB.`);
      const bytes = Buffer.from(await response.arrayBuffer());
      if (bytes.length > MANIFEST_MAX_BYTES) throw new HyperlaneError("TOO_LARGE", `The manifest of "${repository}" is larger than 4 MiB.`);
      return { bytes, mediaType: (response.headers.get("content-type") ?? "").split(";")[0]!.trim() };
    },
    /** From a byte on; `from` in the answer is where it really begins: 0 from a registry without ranges. */
    async blob(repository: string, digest: string, from: number): Promise<{ from: number; body: ReadableStream<Uint8Array> }> {
      const response = await send(repository, `/v2/${repository}/blobs/${digest}`, { headers: from ? { range: `bytes=${from}-` } : {} });
      if (!response.ok || !response.body) return await refuse(response, `blob "${digest}"`);
      return { from: response.status === 206 ? from : 0, body: response.body };
    },
    async hasBlob(repository: string, digest: string): Promise<boolean> {
      const response = await send(repository, `/v2/${repository}/blobs/${digest}`, { method: "HEAD" });
      return response.status === 200;
    },
    /** read: the blob from a byte on. from: another repository there that may have it. onProgress: bytes taken. */
    async uploadBlob(
      repository: string,
      digest: string,
      size: number,
      read: (from: number, to: number) => Promise<Uint8Array<ArrayBuffer>>,
      onProgress: (bytes: number) => void,
    ): Promise<void> {
      const begun = await send(repository, `/v2/${repository}/blobs/uploads/`, { method: "POST" });
      if (begun.status !== 202) return await refuse(begun, `an upload to "${repository}"`);
      let at = begun.headers.get("location") ?? "";
      // In one piece where it is small, else in chunks, so that a slow line does not begin again from the start.
      for (let from = 0; size > UPLOAD_CHUNK_BYTES && from < size; from += UPLOAD_CHUNK_BYTES) {
        const body = await read(from, Math.min(size, from + UPLOAD_CHUNK_BYTES));
        const headers = { "content-type": "application/octet-stream", "content-range": `${from}-${from + body.length - 1}` };
        const response = await send(repository, at, { method: "PATCH", body, headers, once: true });
        if (response.status !== 202) return await refuse(response, `a part of "${digest}"`);
        at = response.headers.get("location") ?? at;
        onProgress(from + body.length);
      }
      const end = new URL(at, base);
      end.searchParams.set("digest", digest);
      const body = size > UPLOAD_CHUNK_BYTES ? new Uint8Array(0) : await read(0, size);
      const done = await send(repository, end.href, {
        method: "PUT",
        body,
        headers: { "content-type": "application/octet-stream" },
        once: size > UPLOAD_CHUNK_BYTES,
      });
      if (done.status !== 201) return await refuse(done, `the upload of "${digest}"`);
      onProgress(size);
    },
    /** A blob whose digest is only known at its end, in chunks. */
    async putStream(repository: string, source: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
      const begun = await send(repository, `/v2/${repository}/blobs/uploads/`, { method: "POST" });
      if (begun.status !== 202) return await refuse(begun, `an upload to "${repository}"`);
      let at = begun.headers.get("location") ?? "";
      const hash = new Bun.CryptoHasher("sha256");
      let size = 0;
      let held: Uint8Array[] = [];
      let have = 0;
      const flush = async (): Promise<void> => {
        if (!have) return;
        const body = Buffer.concat(held);
        const headers = { "content-type": "application/octet-stream", "content-range": `${size}-${size + have - 1}` };
        const response = await send(repository, at, { method: "PATCH", body: body as never, headers, once: true });
        if (response.status !== 202) return await refuse(response, "a part of an upload");
        at = response.headers.get("location") ?? at;
        size += have;
        held = [];
        have = 0;
      };
      for await (const bytes of source) {
        hash.update(bytes as never);
        held.push(bytes.slice());
        have += bytes.length;
        if (have >= UPLOAD_CHUNK_BYTES) await flush();
      }
      await flush();
      const digest = `sha256:${hash.digest("hex")}`;
      const end = new URL(at, base);
      end.searchParams.set("digest", digest);
      const done = await send(repository, end.href, { method: "PUT", body: new Uint8Array(0), once: true });
      if (done.status !== 201) return await refuse(done, `the upload of "${digest}"`);
      return { digest, size };
    },
    async putManifest(repository: string, reference: string, bytes: Buffer, mediaType: string): Promise<void> {
      const response = await send(repository, `/v2/${repository}/manifests/${reference}`, {
        method: "PUT",
        body: bytes as never,
        headers: { "content-type": mediaType },
      });
      if (response.status !== 201) return await refuse(response, `the manifest "${repository}:${reference}"`);
    },
  };
}

const LOGIN_HINT = (host: string): string => `Log in with \`docker login ${host}\`: its ~/.docker/config.json is read here too.`;
