/** `web`: the web UI into build/web, each file compressed once, as control/api/site.ts serves it. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { ROOT, sh, step } from "./sh.ts";

export const WEB = `${ROOT}/build/web`;
/** What a first visit loads, compressed: the page, what it names, and its fonts. */
const FIRST_LOAD_MAX_BYTES = 250_000;

export async function buildWeb(): Promise<void> {
  await step("web", async () => {
    await sh([
      process.execPath,
      "--bun",
      `${ROOT}/node_modules/.bin/vite`,
      "build",
      "--config",
      `${ROOT}/web/vite.config.ts`,
      "--logLevel",
      "warn",
    ]);
    for (const name of files()) {
      writeFileSync(`${WEB}/${name}.gz`, gzipSync(readFileSync(`${WEB}/${name}`), { level: 9 }));
      rmSync(`${WEB}/${name}`);
    }
    const bytes = firstLoad();
    if (bytes > FIRST_LOAD_MAX_BYTES) throw new Error(`The first load of the web UI is ${bytes} bytes, more than ${FIRST_LOAD_MAX_BYTES}.`);
  });
}

function files(): string[] {
  return readdirSync(WEB, { recursive: true })
    .map(String)
    .filter((name) => statSync(`${WEB}/${name}`).isFile());
}

/** Bytes of the page, of the scripts and styles it names, and of the fonts for Latin text. */
export function firstLoad(): number {
  if (!existsSync(`${WEB}/index.html.gz`)) throw new Error("build/web is missing: scripts/main.ts web makes it.");
  const page = Bun.gunzipSync(readFileSync(`${WEB}/index.html.gz`));
  const named = [...new TextDecoder().decode(page).matchAll(/(?:src|href)="\/web\/([^"]+)"/g)].map((m) => m[1]!);
  const fonts = files().filter((name) => /geist(-mono)?-latin-wght-normal/.test(name));
  const load = new Set(["index.html", ...named, ...fonts.map((f) => f.replace(/\.gz$/, ""))]);
  return [...load].reduce((sum, name) => sum + statSync(`${WEB}/${name}.gz`).size, 0);
}
