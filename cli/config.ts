/** Which control plane, with which token: the environment first, then the file that `hyperlane init` writes. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";

export type Context = { url: string; token: string };
const DEFAULT_URL = "http://127.0.0.1:7420";

export function configDir(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "hyperlane");
}

export function readContext(): Context {
  const path = join(configDir(), "config.json");
  let file: Partial<Context> = {};
  if (existsSync(path))
    try {
      file = JSON.parse(readFileSync(path, "utf8")) as Partial<Context>;
    } catch (cause) {
      throw new HyperlaneError("INVALID", `"${path}" is not JSON.`, {
        hint: `Remove it and run \`hyperlane init\` again, or set HYPERLANE_URL and HYPERLANE_TOKEN.`,
        cause,
      });
    }
  const token = process.env.HYPERLANE_TOKEN ?? file.token;
  if (!token) throw new HyperlaneError("UNAUTHENTICATED", "There is no API token.");
  return { url: (process.env.HYPERLANE_URL ?? file.url ?? DEFAULT_URL).replace(/\/$/, ""), token };
}

export function writeContext(context: Context): string {
  const path = join(configDir(), "config.json");
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, `${JSON.stringify(context, null, 2)}\n`, { mode: 0o600 });
  chmodSync(path, 0o600);
  return path;
}
