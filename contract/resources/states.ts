/**
 * The machine state table. API checks, CLI messages, the docs' diagram and the exhaustive tests derive from it.
 *
 *   requested -> provisioning -> running <-> paused, running <-> standby
 *                     |             |
 *                     v             v
 *                   failed       stopped -> destroyed
 */
export const TRANSITIONS = {
  requested: ["provisioning", "stopped", "failed", "destroyed"],
  provisioning: ["running", "paused", "standby", "stopped", "failed", "requested", "destroyed"],
  running: ["paused", "standby", "stopped", "provisioning", "failed", "destroyed"],
  standby: ["running", "paused", "stopped", "provisioning", "failed", "destroyed"],
  paused: ["running", "standby", "stopped", "provisioning", "failed", "destroyed"],
  stopped: ["requested", "provisioning", "running", "paused", "standby", "failed", "destroyed"],
  failed: ["requested", "provisioning", "running", "paused", "standby", "stopped", "destroyed"],
  destroyed: [],
} as const satisfies Record<string, readonly string[]>;

export type MachineState = keyof typeof TRANSITIONS;
export const MACHINE_STATES = Object.keys(TRANSITIONS) as MachineState[];

/** Which verbs a machine accepts in which state. A verb that would change nothing is accepted: all are idempotent. */
export const VERBS = {
  start: ["requested", "provisioning", "running", "standby", "stopped", "failed"],
  stop: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  restart: ["running", "paused", "standby", "stopped", "failed"],
  standby: ["running", "standby"],
  migrate: ["running"],
  pause: ["running", "paused", "standby"],
  resume: ["running", "paused", "standby"],
  scale: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  expose: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  mount: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  network: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  snapshot: ["running", "paused", "standby", "stopped"],
  restore: ["running", "paused", "standby", "stopped", "failed"],
  image: ["running", "paused", "standby", "stopped"],
  kill: ["running", "paused", "standby"],
  rename: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  exec: ["running", "standby"],
  copy: ["running", "standby"],
  tunnel: ["running", "standby"],
  logs: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed"],
  destroy: ["requested", "provisioning", "running", "paused", "standby", "stopped", "failed", "destroyed"],
} as const satisfies Record<string, readonly MachineState[]>;

export type Verb = keyof typeof VERBS;

export function can(verb: Verb, state: MachineState): boolean {
  return (VERBS[verb] as readonly MachineState[]).includes(state);
}

export function canBecome(from: MachineState, to: MachineState): boolean {
  return from === to || (TRANSITIONS[from] as readonly MachineState[]).includes(to);
}
