/**
 * What can be asked of a machine, and when: the machine state table and the runtimes' own table say it, here it only gets words.
 */
import { can, VERBS, type MachineState, type Verb } from "#contract/resources/states.ts";
import type { Machine } from "#contract/resources/machine.ts";
import type { Output } from "#contract/schemas.ts";
import type { Client } from "#sdk/client.ts";

export type Runtime = Output<"listRuntimes">["items"][number];
export type Who = { admin: boolean; runtimes: readonly Runtime[] };
export type ActionName = "start" | "stop" | "restart" | "pause" | "resume" | "standby" | "destroy";

type Action = {
  label: string;
  /** In the words of "3 machines ...". */
  done: string;
  /** States in which it would change nothing, and what to say then. */
  already: Partial<Record<MachineState, string>>;
  call: (client: Client, machine: string) => Promise<Machine>;
  /** What is wished at once; the answer and the stream put it right. */
  wish: Partial<Machine>;
};

const call =
  (name: "startMachine" | "stopMachine" | "restartMachine" | "pauseMachine" | "resumeMachine" | "standbyMachine" | "destroyMachine") =>
  (client: Client, machine: string): Promise<Machine> =>
    client[name]({ params: { machine } });
const ON_ITS_WAY = { requested: "It is on its way", provisioning: "It is on its way" };

export const ACTIONS: Record<ActionName, Action> = {
  start: {
    label: "Start",
    done: "started",
    already: { running: "It runs", paused: "It is paused: resume it", ...ON_ITS_WAY },
    call: call("startMachine"),
    wish: { power: "running" },
  },
  stop: { label: "Stop", done: "stopped", already: { stopped: "It is stopped" }, call: call("stopMachine"), wish: { power: "stopped" } },
  restart: { label: "Restart", done: "restarted", already: {}, call: call("restartMachine"), wish: { power: "running" } },
  pause: { label: "Pause", done: "paused", already: { paused: "It is paused" }, call: call("pauseMachine"), wish: { power: "paused" } },
  resume: {
    label: "Resume",
    done: "resumed",
    already: { running: "It runs", standby: "It wakes by itself, or with Start" },
    call: call("resumeMachine"),
    wish: { power: "running" },
  },
  standby: { label: "Standby", done: "put to standby", already: { standby: "It sleeps" }, call: call("standbyMachine"), wish: {} },
  destroy: { label: "Destroy", done: "destroyed", already: {}, call: call("destroyMachine"), wish: { destroying: true } },
};
export const ACTION_NAMES = Object.keys(ACTIONS) as ActionName[];

export const VIEWER = "Your role is viewer, which only looks";

/** What a verb needs of the machine's runtime. */
const NEEDS = {
  pause: "pause",
  resume: "pause",
  standby: "memorySnapshots",
  snapshot: "diskSnapshots",
  restore: "diskSnapshots",
} as const satisfies Partial<Record<Verb, keyof Runtime>>;
/** Verbs that only look. */
const LOOKING: readonly Verb[] = ["logs"];

/** Why the API would refuse it; null: it would not. */
export function refusal(verb: Verb, machine: Pick<Machine, "state" | "destroying" | "spec">, { admin, runtimes }: Who): string | null {
  if (!admin && !LOOKING.includes(verb)) return VIEWER;
  if (machine.destroying && verb !== "logs") return "It is being destroyed";
  if (!can(verb, machine.state)) return `It is ${machine.state}; it must be ${VERBS[verb].join(" or ")}`;
  const need = NEEDS[verb as keyof typeof NEEDS];
  const runtime = runtimes.find((r) => (machine.spec.runtime === null ? r.default : r.name === machine.spec.runtime));
  return need && runtime && !runtime[need] ? `${runtime.name} cannot do this` : null;
}

/** Why a button is off: it would be refused, or would change nothing. */
export function whyNot(name: ActionName, machine: Pick<Machine, "state" | "destroying" | "spec">, who: Who): string | null {
  return refusal(name, machine, who) ?? ACTIONS[name].already[machine.state] ?? null;
}
