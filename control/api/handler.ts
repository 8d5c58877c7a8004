/** What a handler is. A reader gives its output; a writer gives the events that record the intent, and its output once they are folded in. */
import type { Body, Output, Query } from "#contract/schemas.ts";
import { HyperlaneError } from "#contract/errors.ts";
import { nearest } from "#contract/nearest.ts";
import type { Certificate } from "#contract/resources/other.ts";
import { OPERATIONS, type OperationName } from "#contract/operations.ts";
import { can, VERBS, type Verb } from "#contract/resources/states.ts";
import type { Connections } from "#control/agents/connections.ts";
import { looksLikeJwt, verifyJwt } from "#control/auth/jwt.ts";
import type { Links } from "#control/auth/links.ts";
import { findToken, hashSecret } from "#control/auth/tokens.ts";
import type { Mover } from "#control/images/mover.ts";
import { demandInit } from "./kernels.ts";
import type { SshCa } from "#control/auth/ssh.ts";
import { findMachine, type NewEvent, type State, type StoredMachine, type StoredSession, type StoredToken } from "#control/model/state.ts";
import type { Store } from "#control/store/store.ts";

export type Deps = {
  store: Store;
  ssh: SshCa;
  connections: Connections;
  images: Mover;
  links: Links;
  certificates: readonly Certificate[];
  /** What a host that is to be this node is told. */
  enrol(node: string, body: Body<"addNode">): Promise<string>;
  jwtSecret: string | null;
  maxDiskMib: number | null;
  version: string;
  startedAt: number;
  now(): number;
  newId(kind: "m" | "s" | "i" | "t" | "n" | "v" | "w" | "b"): string;
};
/** token: who asks; of a browser, the one that its session stands for. */
export type Request<N extends OperationName> = {
  params: Record<string, string>;
  query: Query<N>;
  body: Body<N>;
  token: StoredToken;
  session: StoredSession | null;
};
/** What a browser is to send with all it asks from now on; null: nothing more. */
export type Cookie = { secret: string; maxAgeS: number } | null;
/** secret: the answer must not be kept for an idempotency key. */
export type Write<T> = { events: NewEvent[]; result: () => T; secret?: true; cookie?: Cookie };

type Live = { [N in OperationName]: (typeof OPERATIONS)[N] extends { live: true } ? N : never }[OperationName];
type Mutation = { [N in OperationName]: (typeof OPERATIONS)[N]["method"] extends "GET" ? never : N }[OperationName];
export type LiveName = Live;

/** Every operation that is no live stream has a handler here: a missing one does not compile. */
export type Handlers = {
  [N in Exclude<OperationName, Live>]: (
    deps: Deps,
    request: Request<N>,
  ) => N extends Mutation ? Write<Output<N>> | Promise<Write<Output<N>>> : Output<N> | Promise<Output<N>>;
};

/** Whose token this is: one that the log knows, or, which takes a promise, one signed with our secret. undefined: nobody's. */
export function tokenOf(
  { store, jwtSecret, now }: Pick<Deps, "store" | "jwtSecret" | "now">,
  secret: string,
): StoredToken | undefined | Promise<StoredToken | undefined> {
  return jwtSecret !== null && looksLikeJwt(secret) ? verifyJwt(secret, jwtSecret, now()) : findToken(store.state, secret);
}

/** The session of a cookie's secret, and the token it stands for. undefined: it is over. */
export function sessionOf(
  { store, now }: Pick<Deps, "store" | "now">,
  secret: string,
): { session: StoredSession; token: StoredToken } | undefined {
  const hash = hashSecret(secret);
  const session = [...store.state.session.values()].find((s) => s.hash === hash && s.expiresAt > now());
  return session && { session, token: { ...session, id: session.token, hash: "" } };
}

export function machineOf(state: State, params: Record<string, string>): StoredMachine {
  const name = params.machine ?? "";
  const machine = findMachine(state, name);
  if (machine) return machine;
  const near = nearest(name, state.names.keys());
  throw new HyperlaneError(
    "NOT_FOUND",
    `There is no machine "${name}".`,
    near === undefined ? {} : { hint: `Did you mean "${near}"? \`vps list\` shows all.` },
  );
}

/** Of what may be done with a machine, what would be lost on the way to another node, or get in its way. */
const AT_REST: readonly Verb[] = ["standby", "pause", "scale", "mount", "network", "snapshot", "restore", "image", "rename", "migrate"];

export function demand(machine: StoredMachine, verb: Verb): void {
  demandInit(machine, verb);
  if (machine.migration && AT_REST.includes(verb))
    throw new HyperlaneError("STATE", `Cannot ${verb} the machine "${machine.name}": it is on its way to another node.`, {
      hint: `Wait for it, or leave it where it is: vps migrate ${machine.name} --cancel`,
    });
  if (machine.destroying && verb !== "destroy" && verb !== "logs")
    throw new HyperlaneError("STATE", `The machine "${machine.name}" is being destroyed.`);
  if (can(verb, machine.state)) return;
  throw new HyperlaneError(
    "STATE",
    `Cannot ${verb} the machine "${machine.name}" while it is ${machine.state}: it must be ${VERBS[verb].join(" or ")}.`,
    {
      hint:
        machine.state === "failed"
          ? `\`vps show ${machine.name}\` says why it failed; \`vps start ${machine.name}\` tries again.`
          : undefined,
    },
  );
}

/** What is sent to clients: our own bookkeeping stays here. */
export function view({ slot: _, migration, ...machine }: StoredMachine): Output<"getMachine"> {
  if (!migration) return { ...machine, migration };
  const { slot: _s, ...rest } = migration;
  return { ...machine, migration: rest };
}
