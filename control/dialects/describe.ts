/** A dialect's routes, as an OpenAPI document and as a page. Pure. */
import { escape, jsonSchema, pageOf, schemaBlock } from "#control/api/page.ts";
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
    ...(body && { requestBody: { required: true, content: { "application/json": { schema: jsonSchema(body, "input") } } } }),
    responses: { [status]: { description: "Done." }, default: { description: "Refused or failed: {error, message, hint}." } },
  };
}

export function describePage(title: string, version: string, routes: readonly Route[]): string {
  const entries = routes.map(({ name, method, path, summary, query, body }) => {
    const asked = Object.entries(query ?? {}).map(([k, v]) => `<code>${k}</code>: ${escape(v)}`);
    const detail = `${asked.length ? `<p>${asked.join("<br>")}</p>` : ""}${body ? schemaBlock(body, "input") : ""}`;
    return { id: name, method, path, summary, detail };
  });
  return pageOf({
    title,
    intro: `Version ${escape(version)}. Send <code>Authorization: Bearer TOKEN</code>; each path also answers below <code>/api/v1</code>. The machine-readable form is <code>/swagger/json</code>; <a href="/docs">/docs</a> is Hyperlane's own API, which can do more.`,
    entries,
  });
}
