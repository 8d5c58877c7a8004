/** The operation table as an OpenAPI 3.1 document, and a page to read it. Schemas come from the same zod objects that check requests. */
import type { z } from "zod";
import { ERRORS } from "#contract/errors.ts";
import { isMutation, OPERATION_NAMES, OPERATIONS, type Operation } from "#contract/operations.ts";
import { SCHEMAS } from "#contract/schemas.ts";
import { escape, jsonSchema, pageOf, schemaBlock } from "./page.ts";

export function openapiDocument(version: string): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const name of OPERATION_NAMES) (paths[OPERATIONS[name].path] ??= {})[OPERATIONS[name].method.toLowerCase()] = describe(name);
  return {
    openapi: "3.1.0",
    info: {
      title: "Hyperlane",
      version,
      description: "Servers, without the ceremony.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        Error: {
          type: "object",
          required: ["code", "message", "hint"],
          properties: {
            code: { enum: Object.keys(ERRORS) },
            message: { type: "string" },
            hint: { type: "string" },
            field: { type: "string" },
          },
        },
      },
    },
  };
}

function describe(name: (typeof OPERATION_NAMES)[number]): object {
  const operation: Operation = OPERATIONS[name];
  const schema: { query?: z.ZodType; body?: z.ZodType; output: z.ZodType } = SCHEMAS[name];
  const query = schema.query ? (jsonSchema(schema.query, "input") as { properties?: Record<string, object>; required?: string[] }) : {};
  const parameters = [
    ...[...operation.path.matchAll(/\{(\w+)\}/g)].map((m) => ({ name: m[1], in: "path", required: true, schema: { type: "string" } })),
    ...Object.entries(query.properties ?? {}).map(([key, s]) => ({
      name: key,
      in: "query",
      required: query.required?.includes(key) ?? false,
      schema: s,
    })),
    ...(isMutation(operation)
      ? [
          {
            name: "Idempotency-Key",
            in: "header",
            required: false,
            schema: { type: "string", maxLength: 200 },
            description: "Sent again with the same key, the request takes effect once and gets the same answer.",
          },
        ]
      : []),
  ];
  const good = operation.live
    ? { 101: { description: "A WebSocket: binary messages, each a type byte and a payload; see contract/wire/frames.ts." } }
    : {
        200: {
          description: "Done, or recorded and under way.",
          content: name === "metrics" ? { "text/plain": {} } : { "application/json": { schema: jsonSchema(schema.output, "output") } },
        },
      };
  return {
    operationId: name,
    summary: operation.summary,
    "x-permission": operation.permission,
    ...(operation.permission === "open" && { security: [] }),
    parameters,
    ...(schema.body && { requestBody: { required: false, content: { "application/json": { schema: jsonSchema(schema.body, "input") } } } }),
    responses: {
      ...good,
      default: {
        description: "Refused or failed; nothing changed.",
        content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
      },
    },
  };
}

export function openapiPage(version: string): string {
  const entries = OPERATION_NAMES.map((name) => {
    const { method, live, path, summary, permission }: Operation = OPERATIONS[name];
    const schema: { query?: z.ZodType; body?: z.ZodType; output: z.ZodType } = SCHEMAS[name];
    const part = (title: string, s: z.ZodType | undefined, io: "input" | "output") => (s ? `<h4>${title}</h4>${schemaBlock(s, io)}` : "");
    const detail = `<p>Operation <code>${name}</code>, permission <code>${permission}</code>.</p>${part("Query", schema.query, "input")}${part("Body", schema.body, "input")}${live ? "" : part("Answer", schema.output, "output")}`;
    return { id: name, method, ...(live && { kind: "WS" }), path, summary, detail };
  });
  const errors = Object.entries(ERRORS).map(
    ([code, e]) => `<tr><td><code>${code}</code></td><td>${e.http}</td><td>${e.exit}</td><td>${escape(e.hint)}</td></tr>`,
  );
  return pageOf({
    title: "Hyperlane API",
    intro: `Version ${escape(version)}. Send <code>Authorization: Bearer TOKEN</code>; the machine-readable form is <code>/v1/openapi.json</code>, with the token. Every mutating call takes an <code>Idempotency-Key</code> header.`,
    entries,
    end: `<h2>Errors</h2><p>A refused call answers <code>{code, message, hint, field?}</code> and changes nothing.</p><table><tr><th>Code</th><th>HTTP</th><th>Exit</th><th>What to do</th></tr>${errors.join("")}</table>`,
  });
}
