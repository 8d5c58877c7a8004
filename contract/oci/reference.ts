/**
 * Image references as Docker reads them (github.com/distribution/reference): `nginx` is docker.io/library/nginx:latest.
 * The familiar form is the shortest that means the same, and is what users see.
 */

/** tag and digest: at least one is there; with both, the digest decides. */
export type Reference = { registry: string; repository: string; tag: string | null; digest: string | null };

const DOCKER_HUB = "docker.io";
const LIBRARY = "library/";
const NAME_MAX = 255;
const PART = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
export const DIGEST = /^sha256:[a-f0-9]{64}$/;

/** undefined when it is no reference. */
export function parseReference(text: string): Reference | undefined {
  const at = text.indexOf("@");
  const digest = at < 0 ? null : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const tag = tagged ? named.slice(colon + 1) : digest === null ? "latest" : null;
  const name = tagged ? named.slice(0, colon) : named;
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = /[.:\]]|[A-Z]/.test(first) || first === "localhost";
  const host = isHost ? first : DOCKER_HUB;
  const registry = host === "index.docker.io" ? DOCKER_HUB : host;
  const path = isHost ? name.slice(slash + 1) : name;
  const repository = registry === DOCKER_HUB && !path.includes("/") ? `${LIBRARY}${path}` : path;
  const good =
    HOST.test(registry) &&
    repository.split("/").every((p) => PART.test(p)) &&
    registry.length + 1 + repository.length <= NAME_MAX &&
    (tag === null || TAG.test(tag)) &&
    (digest === null || DIGEST.test(digest));
  return good ? { registry, repository, tag, digest } : undefined;
}

/** Name and tag, without the digest: what an image is listed as. */
export function familiarName(r: Reference): string {
  return `${familiarRepository(r)}:${r.tag ?? "latest"}`;
}

export function familiarRepository({ registry, repository }: Pick<Reference, "registry" | "repository">): string {
  if (registry !== DOCKER_HUB) return `${registry}/${repository}`;
  return repository.startsWith(LIBRARY) ? repository.slice(LIBRARY.length) : repository;
}

export function formatReference(r: Reference): string {
  return `${familiarRepository(r)}${r.tag === null ? "" : `:${r.tag}`}${r.digest === null ? "" : `@${r.digest}`}`;
}
