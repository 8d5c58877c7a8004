/** Restart policies, in Docker's words: "no", "on-failure", "on-failure:N", "always", "unless-stopped". Pure. */
import type { Observed } from "./machine.ts";

/** Whether what ended so is started again, however often it has been: how often, restartsMost says. */
export function restartsAfter(policy: string, { exit, exitCode }: Pick<Observed, "exit" | "exitCode">): boolean {
  if (policy === "always" || policy === "unless-stopped") return true;
  return policy !== "no" && exit !== "powered-off" && exitCode !== 0;
}

/** The N of "on-failure:N"; undefined where there is none. */
export function restartsMost(policy: string): number | undefined {
  const most = policy.split(":")[1];
  return most === undefined ? undefined : Number(most);
}
