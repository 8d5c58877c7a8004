/** States as a dot and a word: never colour alone. */
import type { Machine } from "#contract/resources/machine.ts";
import { doing } from "#contract/resources/words.ts";
import { Hint } from "./button.tsx";

export type Tone = "ok" | "warn" | "bad" | "idle" | "sleep" | "busy";
const DOTS: Record<Tone, string> = {
  ok: "bg-ok",
  warn: "bg-warn",
  bad: "bg-bad",
  idle: "border-[1.5px] border-idle",
  sleep: "bg-sleep",
  busy: "bg-accent busy",
};

/** The tone of every word that `doing` can say. */
export const TONES: Record<string, Tone> = {
  requested: "busy",
  provisioning: "busy",
  preparing: "busy",
  starting: "busy",
  stopping: "busy",
  destroying: "busy",
  running: "ok",
  paused: "warn",
  standby: "sleep",
  stopped: "idle",
  failed: "bad",
  destroyed: "idle",
  ready: "ok",
  creating: "busy",
  building: "busy",
  removing: "busy",
};

export function State({ word, tone = TONES[word] ?? "idle" }: { word: string; tone?: Tone }) {
  return (
    <span className="inline-flex items-center gap-1.5 align-middle leading-none whitespace-nowrap">
      <span aria-hidden className={`size-2 shrink-0 rounded-full ${DOTS[tone]}`} />
      {word}
    </span>
  );
}

/** What it does, and what its health check says; why, for who points at it. */
export function MachineState({ machine }: { machine: Machine }) {
  const word = doing(machine);
  const health = machine.state === "running" ? (machine.observed?.health ?? null) : null;
  const { exit, exitCode } = machine.observed ?? {};
  const badly = word === "stopped" && exit === "exited" && exitCode !== 0;
  const stuck = word === "requested" && machine.reason !== null;
  const shown =
    health === "unhealthy" ? (
      <State word="unhealthy" tone="bad" />
    ) : badly ? (
      <State word={`exited ${exitCode}`} tone="bad" />
    ) : stuck ? (
      <State word="waiting" tone="warn" />
    ) : (
      <State word={word} />
    );
  if (machine.reason === null) return shown;
  return (
    <Hint text={machine.reason}>
      <span tabIndex={0}>{shown}</span>
    </Hint>
  );
}
