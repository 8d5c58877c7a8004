/**
 * The machine state table. API checks, CLI messages, the docs' diagram and the exhaustive tests derive from it.
 *
 *   requested -> provisioning -> running <-> paused
 *                     |             |
 *                     v             v
 *                   failed       stopped -> destroyed
 */
export const TRANSITIONS = {
  requested: ["provisioning", "stopped", "failed", "destroyed"],
  provisioning: ["running", "paused", "stopped", "failed", "requested", "destroyed"],
  running: ["paused", "stopped", "provisioning", "failed", "destroyed"],
  paused: ["running", "stopped", "provisioning", "failed", "destroyed"],
  stopped: ["requested", "provisioning", "running", "paused", "failed", "destroyed"],
  failed: ["requested", "provisioning", "running", "paused", "stopped", "destroyed"],
  destroyed: [],
} as const satisfies Record<string, readonly string[]>;

export type MachineState = keyof typeof TRANSITIONS;
export const MACHINE_STATES = Object.keys(TRANSITIONS) as MachineState[];

/** Which verbs a machine accepts in which state. A verb that would change nothing is accepted: all are idempotent. */
export const VERBS = {
  start: ["requested", "provisioning", "running", "stopped", "failed"],
  stop: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  restart: ["running", "paused", "stopped", "failed"],
  pause: ["running", "paused"],
  resume: ["running", "paused"],
  scale: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  expose: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  mount: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  network: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  snapshot: ["running", "paused", "stopped"],
  restore: ["running", "paused", "stopped", "failed"],
  image: ["running", "paused", "stopped"],
  kill: ["running", "paused"],
  rename: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  exec: ["running"],
  copy: ["running"],
  tunnel: ["running"],
  logs: ["requested", "provisioning", "running", "paused", "stopped", "failed"],
  destroy: ["requested", "provisioning", "running", "paused", "stopped", "failed", "destroyed"],
} as const satisfies Record<string, readonly MachineState[]>;

export type Verb = keyof typeof VERBS;

export function can(verb: Verb, state: MachineState): boolean {
  return (VERBS[verb] as readonly MachineState[]).includes(state);
}

export function canBecome(from: MachineState, to: MachineState): boolean {
  return from === to || (TRANSITIONS[from] as readonly MachineState[]).includes(to);
}
