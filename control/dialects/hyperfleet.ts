/**
 * Hyperfleet's REST API, as its README shows it, spoken onto ours: /machines and /api/v1/machines. A machine is made with
 * POST and started with another; start, stop and restart answer once it has. No state and no rules of its own.
 */
import { ERRORS, fromErrorBody, HyperlaneError, toHyperlaneError, type ErrorCode } from "#contract/errors.ts";
import { DEFAULT_PLATFORM } from "#contract/oci/manifest.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { createCollector, encodeMessage, exitCode, F } from "#contract/wire/messages.ts";
import { call } from "#control/api/call.ts";
import { machineOf, view, type Deps } from "#control/api/handler.ts";
import { demandInit } from "#control/api/kernels.ts";
import { respondPage } from "#control/api/page.ts";
import { bearerOf, check, parseBody, readText } from "#control/api/request.ts";
import type { Dialect } from "#control/api/server.ts";
import { allows } from "#control/auth/tokens.ts";
import { fromGrpc } from "#control/agents/connections.ts";
import { imageNamed, type StoredToken } from "#control/model/state.ts";
import { describePage, documentOf } from "./describe.ts";
import { statusOf, toCreate, toTheirs } from "./hyperfleet-machine.ts";
import { ROUTES, type Exec, type Route } from "./hyperfleet-routes.ts";

/** open: no token is asked for. */
type Options = { open: boolean; log(line: string): void };
type Call = {
  deps: Deps;
  params: Record<string, string>;
  query: Record<string, string>;
  body: never;
  token: StoredToken;
  ask: Ask;
  signal: AbortSignal;
};
type Ask = (method: string, path: string, body?: object) => Promise<unknown>;

const ANYBODY: StoredToken = { id: "anybody", name: "anybody", role: "admin", hash: "", createdAt: 0 };
/** What start, stop, restart and delete wait for. */
const SETTLE_MS = 120_000;
const SIGKILL = 9;

export function hyperfleet(deps: Deps, { open, log }: Options): Dialect {
  return (request, url) => {
    const path = url.pathname.replace(/^\/api\/v1(?=\/machines)/, "");
    if (request.method === "GET" && path === "/swagger") return Promise.resolve(respondPage(describePage(TITLE, deps.version, ROUTES)));
    if (request.method === "GET" && path === "/swagger/json")
      return Promise.resolve(Response.json(documentOf(TITLE, deps.version, ROUTES)));
    if (request.method === "GET" && path === "/health") return Promise.resolve(Response.json({ status: "ok" }));
    return path === "/machines" || path.startsWith("/machines/") ? serve(deps, request, url, path, open, log) : undefined;
  };
}

const TITLE = "Hyperlane, in Hyperfleet's words";

async function serve(deps: Deps, request: Request, url: URL, path: string, open: boolean, log: (line: string) => void): Promise<Response> {
  try {
    const { route, params } = find(request.method, path);
    const secret = bearerOf(request);
    const as = open && secret === undefined ? { as: ANYBODY } : {};
    const ask: Ask = async (method, at, body) => {
      const [pathname = "", search = ""] = at.split(/(?=\?)/);
      const text = body === undefined ? "" : JSON.stringify(body);
      const answer = await call(deps, { method, pathname, search, secret, idempotencyKey: null, text, ...as }, log);
      const said: unknown = answer.body === "" ? undefined : JSON.parse(answer.body);
      if (answer.status >= 400) throw fromErrorBody(said);
      return said;
    };
    // Whose token it is, and that it is one.
    const token = { ...ANYBODY, ...((await ask("GET", "/v1/whoami")) as Pick<StoredToken, "id" | "name" | "role">) };
    const body = check(route.body, "body", parseBody(await readText(request)));
    const query = Object.fromEntries(url.searchParams);
    const answer = await HANDLERS[route.name]!({ deps, params, query, body: body as never, token, ask, signal: request.signal });
    return answer === undefined ? new Response(null, { status: route.status }) : Response.json(answer, { status: route.status });
  } catch (thrown) {
    return refuse(thrown, log);
  }
}

function find(method: string, path: string): { route: Route; params: Record<string, string> } {
  let there = false;
  for (const route of ROUTES) {
    const match = new RegExp(`^${route.path.replace("{id}", "(?<id>[^/]+)")}/?$`).exec(path);
    if (!match) continue;
    there = true;
    if (route.method === method) return { route, params: { ...match.groups } };
  }
  throw new HyperlaneError("NOT_FOUND", there ? `There is no ${method} on "${path}".` : `There is no "${path}" here.`, {
    hint: "See /swagger.",
  });
}

/** Its errors have a tag and a message. */
const TAGS: Partial<Record<ErrorCode, string>> = {
  NOT_FOUND: "NotFoundError",
  INVALID: "ValidationError",
  TOO_LARGE: "ValidationError",
  UNAUTHENTICATED: "UnauthorizedError",
  FORBIDDEN: "ForbiddenError",
  TIMEOUT: "TimeoutError",
  STATE: "ConflictError",
  CONFLICT: "ConflictError",
  UNSUPPORTED: "ConflictError",
  NO_CAPACITY: "ConflictError",
};

function refuse(thrown: unknown, log: (line: string) => void): Response {
  const error = toHyperlaneError(thrown);
  if (error.code === "BUG") log(`hyperfleet: ${error.stack ?? error.message}`);
  const body = { error: TAGS[error.code] ?? "RuntimeError", message: error.message, hint: error.hint };
  return Response.json(body, { status: ERRORS[error.code].http });
}

const HANDLERS: Record<string, (call: Call) => Promise<unknown>> = {
  async listMachines({ ask, query }) {
    const all: Machine[] = [];
    for (let after: string | null = ""; after !== null;) {
      const page = (await ask("GET", `/v1/machines?limit=500${after ? `&after=${after}` : ""}`)) as {
        items: Machine[];
        next: string | null;
      };
      all.push(...page.items);
      after = page.next;
    }
    const fits = (m: ReturnType<typeof toTheirs>): boolean =>
      (query.status === undefined || m.status === query.status) &&
      (query.runtime_type === undefined || m.runtime_type === query.runtime_type);
    return all
      .map(toTheirs)
      .filter(fits)
      .sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  },
  async createMachine({ deps, ask, body, token, signal }) {
    const create = toCreate(body);
    if (!create.spec.kernel) await ensureImage(deps, create.spec.image, token, signal);
    return toTheirs((await ask("POST", "/v1/machines", create)) as Machine);
  },
  getMachine: async ({ ask, params }) => toTheirs((await ask("GET", `/v1/machines/${params.id}`)) as Machine),
  async deleteMachine({ deps, ask, params }) {
    const { id } = (await ask("DELETE", `/v1/machines/${params.id}`)) as Machine;
    await settled(deps, id, (m) => m === undefined);
    return undefined;
  },
  startMachine: (call) => power(call, "start", "running"),
  stopMachine: (call) => power(call, "stop", "stopped"),
  restartMachine: (call) => power(call, "restart", "running"),
  pauseMachine: (call) => power(call, "pause", "paused"),
  resumeMachine: (call) => power(call, "resume", "running"),
  async waitMachine({ deps, params, query }) {
    const seconds = Math.min(Math.max(Number(query.timeout ?? 30) || 30, 1), 30);
    const { id } = machineOf(deps.store.state, { machine: params.id! });
    return toTheirs((await settled(deps, id, (m) => m !== undefined && statusOf(m) === (query.status ?? "running"), seconds * 1000))!);
  },
  execInMachine: exec,
};

async function power({ deps, ask, params }: Call, verb: string, to: string): Promise<unknown> {
  const { id, epoch } = (await ask("POST", `/v1/machines/${params.id}/${verb}`, {})) as Machine;
  // One that has come to its end by itself in the meantime did start.
  const ran = (m: Machine): boolean => verb !== "stop" && m.epoch >= epoch && m.observed?.phase === "exited" && m.observed.epoch >= epoch;
  const after = await settled(deps, id, (m) => m !== undefined && (statusOf(m) === to || statusOf(m) === "failed" || ran(m)));
  if (statusOf(after!) === "failed")
    throw new HyperlaneError("FAILED", `"${after!.name}" failed: ${after!.reason ?? "no reason is known"}`);
  return toTheirs(after!);
}

/** Until the machine is so; undefined: it is gone. */
async function settled(
  deps: Deps,
  id: string,
  holds: (m: Machine | undefined) => boolean,
  limitMs = SETTLE_MS,
): Promise<Machine | undefined> {
  const look = (): Machine | undefined => {
    const machine = deps.store.state.machine.get(id);
    return machine && view(machine);
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = deps.store.subscribe((events) => void (events.some((e) => e.subject === id) && holds(look()) && resolve()));
  const timer = setTimeout(resolve, limitMs);
  try {
    if (!holds(look())) await promise;
  } finally {
    clearTimeout(timer);
    stop();
  }
  const machine = look();
  if (!holds(machine))
    throw new HyperlaneError(
      "TIMEOUT",
      `"${machine?.name ?? id}" is still ${machine ? statusOf(machine) : "gone"} after ${limitMs / 1000} s.`,
    );
  return machine;
}

/** As Docker does, an image that is not there is brought in. */
async function ensureImage(deps: Deps, name: string, token: StoredToken, signal: AbortSignal): Promise<void> {
  if (imageNamed(deps.store.state, name) || token.role !== "admin") return;
  await deps.images.pull(name, { platform: DEFAULT_PLATFORM, insecure: false, credentials: undefined, actor: token.id, signal }, () => {});
}

/** What it printed and its exit code; one that takes longer is ended. */
async function exec({ deps, ask, params, body, token }: Call): Promise<unknown> {
  if (!allows(token.role, "shell"))
    throw new HyperlaneError("FORBIDDEN", `The token "${token.name}" has the role ${token.role}, which does not allow this (shell).`);
  const machine = (await ask("GET", `/v1/machines/${params.id}`)) as Machine;
  demandInit(machine, "exec");
  if (machine.state !== "running" && machine.state !== "standby")
    throw new HyperlaneError("STATE", `Cannot run a command in "${machine.name}" while it is ${statusOf(machine)}.`, {
      hint: "Start it first.",
    });
  const { command, cmd, timeout } = body as Exec;
  const argv = command ?? cmd!;
  const stream = deps.connections.open(machine.node!, {
    ...{ kind: "exec", machine: machine.id, argv, env: [], workdir: null, user: null, tty: false, stdin: false, rows: 24, cols: 80 },
  });
  const { promise, resolve, reject } = Promise.withResolvers<object>();
  const timer = setTimeout(() => {
    stream.write(encodeMessage(F.SIGNAL, Buffer.from([SIGKILL])));
    reject(new HyperlaneError("TIMEOUT", `"${argv.join(" ")}" took longer than ${timeout} s.`));
  }, timeout * 1000);
  const collect = createCollector((type, payload) => void stream.write(encodeMessage(type, payload)));
  stream.on("data", (message: Buffer) => {
    const all = collect(message[0]!, message.subarray(1));
    if (all?.exit.kind === "errno") reject(new HyperlaneError("FAILED", all.exit.text));
    else if (all) resolve({ exit_code: exitCode(all.exit), stdout: all.stdout, stderr: all.stderr });
  });
  stream.on("error", (thrown) => reject(fromGrpc(thrown as never, { name: machine.node! })));
  stream.on("end", () => reject(new HyperlaneError("UNAVAILABLE", "The machine ended meanwhile.")));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    stream.cancel();
  }
}
