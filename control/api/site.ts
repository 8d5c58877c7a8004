/**
 * The web UI: the files that `scripts/main.ts web` made, each compressed once when it was built. Every path that is no file is a
 * view of the one page, which finds out itself what to show.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export type Site = (request: Request, url: URL) => Response;

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  woff2: "font/woff2",
  svg: "image/svg+xml",
};
/** Their names hold a hash of what is in them. */
const FOR_EVER = "public, max-age=31536000, immutable";
/** In index.html, where the nonce of this one answer goes. */
const NONCE = "__NONCE__";

/** dir: holds index.html.gz and assets/. */
export function createSite(dir: string): Site {
  const names = new Set(existsSync(dir) ? readdirSync(dir, { recursive: true }).map(String) : []);
  const read = (name: string): Buffer => readFileSync(`${dir}/${name}.gz`);
  return (request, url) => {
    const name = url.pathname.replace(/^\/web\/?/, "");
    if (names.has(`${name}.gz`) && name !== "index.html") return file(request, name, read(name));
    if (name.startsWith("assets/")) return new Response("There is no such file.\n", { status: 404 });
    if (!names.has("index.html.gz"))
      return new Response("The web UI is not built here. In the source tree: ./quickstart, or scripts/main.ts web.\n", { status: 503 });
    const nonce = randomBytes(16).toString("base64");
    const html = gunzipSync(read("index.html")).toString().replaceAll(NONCE, nonce);
    return new Response(html, { headers: { "content-type": TYPES.html!, "cache-control": "no-store", ...guards(nonce) } });
  };
}

function file(request: Request, name: string, compressed: Buffer): Response {
  const takes = (request.headers.get("accept-encoding") ?? "").includes("gzip");
  const headers: Record<string, string> = {
    "content-type": TYPES[name.split(".").at(-1)!] ?? "application/octet-stream",
    "cache-control": name.startsWith("assets/") ? FOR_EVER : "no-cache",
    "x-content-type-options": "nosniff",
    vary: "accept-encoding",
  };
  if (takes) headers["content-encoding"] = "gzip";
  return new Response(new Uint8Array(takes ? compressed : gunzipSync(compressed)), { headers });
}

/** Nothing but our own files runs, styles or is asked. nonce: for the style sheets that the terminal makes for itself. */
function guards(nonce: string): Record<string, string> {
  const policy = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": `'self' 'nonce-${nonce}'`,
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
  };
  return {
    "content-security-policy": Object.entries(policy)
      .map(([key, value]) => `${key} ${value}`)
      .join("; "),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
  };
}
