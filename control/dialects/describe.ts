/** A dialect's routes, as an OpenAPI document and as a page. Pure. */
import { z } from "zod";
import type { Route } from "./hyperfleet-routes.ts";

export function documentOf(title: string, version: string, routes: readonly Route[]): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) (paths[route.path] ??= {})[route.method.toLowerCase()] = describe(route);
  const securitySchemes = { token: { type: "http", scheme: "bearer" } };
  return { openapi: "3.1.0", info: { title, version }, security: [{ token: [] }], paths, components: { securitySchemes } };
}

function describe({ name, path, summary, status, query = {}, body }: Route): object {
  const schema = { type: "string" };
  return {
    operationId: name,
    summary,
    parameters: [
      ...[...path.matchAll(/\{(\w+)\}/g)].map((m) => ({ name: m[1], in: "path", required: true, schema })),
      ...Object.entries(query).map(([key, description]) => ({ name: key, in: "query", description, schema })),
    ],
    ...(body && { requestBody: { required: true, content: { "application/json": { schema: jsonSchema(body) } } } }),
    responses: { [status]: { description: "Done." }, default: { description: "Refused or failed: {error, message, hint}." } },
  };
}

function jsonSchema(schema: z.ZodType): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return rest;
}

export function pageOf(title: string, version: string, routes: readonly Route[]): string {
  const rows = routes.map(({ method, path, summary, query, body }) => {
    const asked = query
      ? `<p>${Object.entries(query)
          .map(([k, v]) => `<code>${k}</code>: ${escape(v)}`)
          .join("<br>")}</p>`
      : "";
    const takes = body ? `<pre>${escape(JSON.stringify(jsonSchema(body), null, 2))}</pre>` : "";
    return `<details><summary><b class="${method}">${method}</b> <code>${escape(path)}</code> <span>${escape(summary)}</span></summary>${asked}${takes}</details>`;
  });
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(title)}</title><style>
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:60rem;margin:2rem auto;padding:0 1rem}code,pre{font:13px ui-monospace,monospace}
summary{cursor:pointer;padding:.35rem 0;display:flex;gap:.75rem;align-items:baseline;flex-wrap:wrap}summary b{width:4.2rem;font:600 12px ui-monospace,monospace}summary span{opacity:.7}details{border-bottom:1px solid #8884}
pre{overflow:auto;background:#8881;padding:.75rem;border-radius:6px;max-height:24rem}.GET{color:#2a8}.POST{color:#37c}.DELETE{color:#c44}</style>
<h1>${escape(title)}</h1><p>Version ${escape(version)}. Send <code>Authorization: Bearer TOKEN</code>; each path also answers below <code>/api/v1</code>. The machine-readable form is <code>/swagger/json</code>; <a href="/docs">/docs</a> is Hyperlane's own API, which can do more.</p>
${rows.join("\n")}</html>`;
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
