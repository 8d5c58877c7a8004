/** Logins for registries, as `docker login` keeps them: ~/.docker/config.json and its credential helpers (docs.docker.com, "docker login"). */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import { parseReference } from "#contract/oci/reference.ts";

type DockerConfig = {
  auths?: Record<string, { auth?: string; username?: string; password?: string; identitytoken?: string }>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
};
type Login = { username: string; password: string } | { identitytoken: string };

const HUB_KEY = "https://index.docker.io/v1/";

/** The value of X-Registry-Auth for an image's registry; undefined: nobody is logged in there. */
export function registryAuth(image: string): string | undefined {
  const registry = parseReference(image)?.registry;
  const path = join(process.env.DOCKER_CONFIG ?? join(homedir(), ".docker"), "config.json");
  if (registry === undefined || !existsSync(path)) return undefined;
  const login = find(readConfig(path), registry);
  return login && Buffer.from(JSON.stringify(login)).toString("base64url");
}

function readConfig(path: string): DockerConfig {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as DockerConfig;
  } catch (cause) {
    throw new HyperlaneError("INVALID", `"${path}" is not JSON.`, { hint: "Correct it, or remove it and log in again.", cause });
  }
}

function find(config: DockerConfig, registry: string): Login | undefined {
  const keys =
    registry === "docker.io" ? [HUB_KEY, "docker.io", "index.docker.io"] : [registry, `https://${registry}`, `https://${registry}/v1/`];
  for (const key of keys) {
    const helper = config.credHelpers?.[key] ?? config.credsStore;
    const login = (helper ? ask(helper, key) : undefined) ?? stored(config.auths?.[key]);
    if (login) return login;
  }
  return undefined;
}

function stored(entry: NonNullable<DockerConfig["auths"]>[string] | undefined): Login | undefined {
  if (entry?.identitytoken) return { identitytoken: entry.identitytoken };
  const [username = entry?.username, password = entry?.password] = entry?.auth
    ? Buffer.from(entry.auth, "base64").toString().split(/:(.*)/s)
    : [];
  return username ? { username, password: password ?? "" } : undefined;
}

/** docker-credential-helpers: the registry on stdin, {"Username","Secret"} on stdout. */
function ask(helper: string, key: string): Login | undefined {
  if (!/^[A-Za-z0-9._-]+$/.test(helper) || !Bun.which(`docker-credential-${helper}`, { PATH: process.env.PATH ?? "" })) return undefined;
  const child = Bun.spawnSync([`docker-credential-${helper}`, "get"], {
    stdin: Buffer.from(key),
    stdout: "pipe",
    stderr: "ignore",
    env: process.env,
  });
  if (child.exitCode !== 0) return undefined;
  const { Username, Secret } = JSON.parse(child.stdout.toString()) as { Username: string; Secret: string };
  return Username === "<token>" ? { identitytoken: Secret } : { username: Username, password: Secret };
}
