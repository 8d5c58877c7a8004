/** A page that describes an API: one document, no script, no outside resource. Pure but for the answer that carries it. */
import { z } from "zod";

/** kind: the method, or what stands in its place. detail: HTML. */
export type Entry = { id: string; method: string; kind?: string; path: string; summary: string; detail: string };

const STYLE = `:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:60rem;margin:2rem auto;padding:0 1rem}code,pre{font:13px ui-monospace,monospace}
summary{cursor:pointer;padding:.35rem 0;display:flex;gap:.75rem;align-items:baseline;flex-wrap:wrap}summary b{width:4.2rem;font:600 12px ui-monospace,monospace}summary span{opacity:.7}details{border-bottom:1px solid #8884}
pre{overflow:auto;background:#8881;padding:.75rem;border-radius:6px;max-height:24rem}.GET{color:#2a8}.POST{color:#37c}.PATCH{color:#a70}.DELETE{color:#c44}table{border-collapse:collapse}td,th{padding:.2rem .75rem .2rem 0;text-align:left}`;
const HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
  "x-content-type-options": "nosniff",
};

/** intro and end: HTML. */
export function pageOf(page: { title: string; intro: string; entries: readonly Entry[]; end?: string }): string {
  const rows = page.entries.map(
    ({ id, method, kind = method, path, summary, detail }) =>
      `<details id="${id}"><summary><b class="${method}">${kind}</b> <code>${escape(path)}</code> <span>${escape(summary)}</span></summary>${detail}</details>`,
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(page.title)}</title><style>
${STYLE}</style>
<h1>${escape(page.title)}</h1><p>${page.intro}</p>
${rows.join("\n")}${page.end ?? ""}</html>`;
}

export function respondPage(html: string): Response {
  return new Response(html, { headers: HEADERS });
}

export function schemaBlock(schema: z.ZodType, io: "input" | "output"): string {
  return `<pre>${escape(JSON.stringify(jsonSchema(schema, io), null, 2))}</pre>`;
}

export function jsonSchema(schema: z.ZodType, io: "input" | "output"): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}

export function escape(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
