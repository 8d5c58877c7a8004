/** A workload's health check, as Docker runs them: a command at intervals, whose exit code says how it is. */
import type { Health } from "#contract/resources/image.ts";
import type { Workload } from "#contract/resources/workload.ts";
import { encodeExec } from "#contract/wire/frames.ts";
import { decodeExit, encodeU32, exitCode, F } from "#contract/wire/messages.ts";
import type { Channel } from "#agent/guest/channel.ts";

export type HealthStatus = "starting" | "healthy" | "unhealthy";
export type HealthState = { status: HealthStatus; failures: number };
export type HealthWatch = { readonly status: HealthStatus; stop(): void };

const SIGKILL = 9;

/** ageMs: since the watch began. Failures in the start period do not count, unless it was healthy before. Pure. */
export function nextHealth(before: HealthState, ok: boolean, ageMs: number, { retries, startPeriodMs }: Health): HealthState {
  if (ok) return { status: "healthy", failures: 0 };
  if (before.status === "starting" && ageMs < startPeriodMs) return before;
  const failures = before.failures + 1;
  return { status: failures >= retries ? "unhealthy" : before.status, failures };
}

/** changed: called when the status is another. undefined: there is nothing to watch. */
export function watchHealth(workload: Workload, channel: Channel, changed: () => void): HealthWatch | undefined {
  if (workload.kind !== "process" || !workload.health) return undefined;
  const { health } = workload;
  const began = Date.now();
  let state: HealthState = { status: "starting", failures: 0 };
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function look(): Promise<void> {
    const ok = channel.connected ? await succeeds(workload as Process, health, channel) : undefined;
    if (stopped) return;
    // Without a connection nothing is known, and nothing is said.
    if (ok !== undefined) {
      const before = state.status;
      state = nextHealth(state, ok, Date.now() - began, health);
      if (state.status !== before) changed();
    }
    timer = setTimeout(look, health.intervalMs);
  }
  timer = setTimeout(look, health.intervalMs);
  return {
    get status(): HealthStatus {
      return state.status;
    },
    stop(): void {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

type Process = Extract<Workload, { kind: "process" }>;

async function succeeds(workload: Process, health: Health, channel: Channel): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const request = encodeExec({ ...workload, argv: health.argv, tty: false, stdin: false, rows: 0, cols: 0 });
  try {
    const stream = channel.open(F.EXEC, request, (type, payload) => {
      // What it prints is nobody's, but it must not wait for a reader.
      if (type === F.STDOUT || type === F.STDERR) stream?.send(F.CREDIT, encodeU32(payload.length));
      if (type === F.EXIT) resolve(exitCode(decodeExit(payload)) === 0);
    });
    const timer = setTimeout(() => {
      stream.send(F.SIGNAL, Buffer.from([SIGKILL]));
      resolve(false);
    }, health.timeoutMs);
    return await promise.finally(() => clearTimeout(timer));
  } catch {
    return false;
  }
}
