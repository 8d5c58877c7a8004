/** The way to one registry: requests signed as it asks for, redirects, retries, and its refusals in words. */
import { HyperlaneError } from "#contract/errors.ts";
import { parseChallenge, type Challenge } from "./challenge.ts";

/** identityToken: an OAuth2 refresh token, as `docker login` keeps for some registries. */
export type Credentials = { username: string; password: string } | { identityToken: string };
/** base: where it is reached, like https://registry-1.docker.io. push: ask for rights to write as well. */
export type RegistryOptions = { base: string; credentials?: Credentials | undefined; push?: boolean; signal?: AbortSignal | undefined };

const TRIES = 4;
const RETRY_MS = 300;

export type Session = ReturnType<typeof createSession>;

export function createSession({ base, credentials, push = false, signal }: RegistryOptions) {
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

  return { host, base, send, refuse };
}

const LOGIN_HINT = (host: string): string => `Log in with \`docker login ${host}\`: its ~/.docker/config.json is read here too.`;
