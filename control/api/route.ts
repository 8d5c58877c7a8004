/** From method and path to the row of the operation table. The table as a tree by segment; `*` stands for a parameter. */
import { HyperlaneError } from "#contract/errors.ts";
import { OPERATION_NAMES, OPERATIONS, type Operation, type OperationName } from "#contract/operations.ts";

export type Route = { name: OperationName; operation: Operation; params: Record<string, string> };
type RouteNode = { next: Map<string, RouteNode>; methods: Map<string, OperationName> };
const TREE = buildTree();

function buildTree(): RouteNode {
  const root: RouteNode = { next: new Map(), methods: new Map() };
  for (const name of OPERATION_NAMES) {
    let at = root;
    for (const segment of OPERATIONS[name].path.split("/").slice(1)) {
      const key = segment.startsWith("{") ? "*" : segment;
      const next = at.next.get(key) ?? { next: new Map(), methods: new Map() };
      at.next.set(key, next);
      at = next;
    }
    at.methods.set(OPERATIONS[name].method, name);
  }
  return root;
}

export function match(method: string, pathname: string): Route {
  let at: RouteNode | undefined = TREE;
  const values: string[] = [];
  for (const segment of pathname.split("/").slice(1)) {
    const fixed: RouteNode | undefined = at.next.get(segment);
    const next: RouteNode | undefined = fixed ?? (segment ? at.next.get("*") : undefined);
    if (!next) throw new HyperlaneError("NOT_FOUND", `There is no "${pathname}" here.`, { hint: "See /docs for what there is." });
    if (!fixed) values.push(decode(segment));
    at = next;
  }
  const name = at.methods.get(method);
  if (!name)
    throw new HyperlaneError("NOT_FOUND", `There is no ${method} on "${pathname}".`, {
      hint: `It takes ${[...at.methods.keys()].join(", ") || "nothing"}. See /docs.`,
    });
  const operation: Operation = OPERATIONS[name];
  const keys = [...operation.path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]!);
  return { name, operation, params: Object.fromEntries(keys.map((k, i) => [k, values[i]!])) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new HyperlaneError("INVALID", `"${segment}" in the path is not valid percent-encoding.`);
  }
}
