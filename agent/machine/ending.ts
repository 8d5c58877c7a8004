/** How a machine that nobody asked to end has ended, from what is left of it. */
import { isForContainers } from "#contract/wire/agent.ts";
import type { VmState } from "#runtimes/driver.ts";
import { ranOutOfMemory, readExit, readPanic } from "./logs.ts";
import type { Record } from "./record.ts";

const SIGKILL = 9;
type Ending = Pick<Record, "exit" | "exitCode" | "reason">;

/** null: it did not come to an end of its own, and it was only starting. state: of its VMM. rebooted: its host was. */
export function endingOf(record: Record, logsDir: string, state: VmState, rebooted: boolean): Ending | null {
  const { id, workload } = record.desired;
  const exit = workload.kind === "process" ? readExit(logsDir, id, record.logFrom.workload) : undefined;
  if (exit?.signal === SIGKILL && ranOutOfMemory(logsDir, id, record.logFrom.console))
    return { exit: "out-of-memory", exitCode: exit.code, reason: "its workload was ended for want of memory" };
  if (exit)
    return {
      exit: "exited",
      exitCode: exit.code,
      reason: exit.signal ? `its workload was ended by signal ${exit.signal}` : `its workload ended with code ${exit.code}`,
    };
  if (rebooted) return { exit: "host-rebooted", exitCode: null, reason: "its host restarted" };
  const panic =
    (state === "off" || state === "gone") && workload.kind !== "system" ? readPanic(logsDir, id, record.logFrom.console) : undefined;
  if (panic !== undefined) return { exit: "panicked", exitCode: null, reason: `its kernel panicked: ${panic}` };
  if (record.phase === "starting") return null;
  if (state === "off") return { exit: "powered-off", exitCode: null, reason: "it was powered off from inside" };
  const gone = isForContainers(record.desired.rootfs)
    ? "its container was stopped or removed by somebody else"
    : "its VMM process ended unexpectedly";
  const reason = state === "gone" ? gone : "the hypervisor stopped with an internal error";
  return { exit: "crashed", exitCode: null, reason };
}
