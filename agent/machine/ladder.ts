/** Stopping as a ladder: ask init, then the power button, then the VMM, then kill. Each rung has a deadline. Pure. */
import type { Record } from "./record.ts";

type Rung = NonNullable<Record["stopping"]>["rung"];
const RUNGS: readonly { rung: Rung; ms: number }[] = [
  { rung: "init", ms: 30_000 },
  { rung: "button", ms: 10_000 },
  { rung: "vmm", ms: 5_000 },
  { rung: "kill", ms: 10_000 },
];

/** from: "vmm" where the guest is no longer asked. graceMs: what a workload gets, on top of what init needs. */
export function firstRung(from: Rung, now: number, graceMs = 0): NonNullable<Record["stopping"]> {
  const { rung, ms } = RUNGS.find((r) => r.rung === from)!;
  return { rung, deadline: now + ms + (rung === "init" ? graceMs : 0) };
}

export function nextRung(rung: Rung, now: number): NonNullable<Record["stopping"]> | null {
  const next = RUNGS[RUNGS.findIndex((r) => r.rung === rung) + 1];
  return next ? { rung: next.rung, deadline: now + next.ms } : null;
}
