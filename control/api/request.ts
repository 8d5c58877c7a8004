/** What every API of ours asks of an HTTP request: who sent it, a body of bounded size, and a shape. */
import type { z } from "zod";
import { HyperlaneError } from "#contract/errors.ts";

const BODY_MAX_BYTES = 1024 * 1024;

/** The token that was sent; undefined: none. */
export function bearerOf(request: Request): string | undefined {
  return /^Bearer (\S+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
}

/** Reads no more than it takes. Throws TOO_LARGE. */
export async function readText(request: Request): Promise<string> {
  const tooLarge = () => new HyperlaneError("TOO_LARGE", `The body is larger than ${BODY_MAX_BYTES / 2 ** 20} MiB.`);
  if (Number(request.headers.get("content-length") ?? 0) > BODY_MAX_BYTES) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const bytes of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    size += bytes.length;
    if (size > BODY_MAX_BYTES) throw tooLarge();
    parts.push(bytes);
  }
  return Buffer.concat(parts).toString();
}

/** Nothing is an empty object. Throws INVALID. */
export function parseBody(text: string): unknown {
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HyperlaneError("INVALID", `The body is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Without a schema nothing is taken over. Throws INVALID, with the field and what would have been right. */
export function check(schema: z.ZodType | undefined, part: "query" | "body", value: unknown): unknown {
  if (!schema) return {};
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const unknown = issue.code === "unrecognized_keys" ? issue.keys[0]! : undefined;
  const field = [...issue.path, ...(unknown === undefined ? [] : [unknown])].join(".");
  const rule = unknown === undefined ? ruleOf(issue) : "is not a field here";
  throw new HyperlaneError("INVALID", field ? `${field} ${rule}.` : `The ${part} ${rule}.`, { ...(field && { field }) });
}

/** What would have been right. Schemas say it themselves where zod's own words would not do. */
function ruleOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_value") return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.join(", ")}`;
  if (issue.code === "invalid_type")
    return `must be ${/^[aeiou]/.test(issue.expected) ? "an" : "a"} ${issue.expected === "int" ? "whole number" : issue.expected}`;
  if (issue.code === "too_big" && issue.message.startsWith("Too big")) return `must be at most ${issue.maximum}`;
  if (issue.code === "too_small" && issue.message.startsWith("Too small")) return `must be at least ${issue.minimum}`;
  return issue.message.startsWith("Invalid key") && issue.code === "invalid_key"
    ? (issue.issues[0]?.message ?? issue.message)
    : issue.message.replace(/^Invalid input: /, "");
}
