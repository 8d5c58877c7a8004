/**
 * What a lane does with a machine that goes to another node or comes from one. record.move says how far it is; which of the two ends
 * this is, its phase: one that comes is only being prepared.
 */
import type { createAttendance } from "#agent/machine/attend.ts";
import { isAlive } from "#agent/host/process.ts";
import type { Driver, Vm } from "#runtimes/driver.ts";
import { createArrival, type Arriver } from "./arrive.ts";
import { leave, stay } from "./leave.ts";

type Lane = Omit<Arriver, "take" | "giveUp" | "set"> & {
  driver: Pick<Driver, "attach">;
  attendance: ReturnType<typeof createAttendance>;
  /** Its process, where this agent has it in hand. */
  vm(): Vm | undefined;
  hold(vm: Vm): void;
  set(phase: Arriver["record"]["phase"], more?: Partial<Arriver["record"]>): void;
  endStrays(): Promise<void>;
  endProcess(): Promise<void>;
};

const INTERRUPTED = "its agent was restarted";

export function createWays(lane: Lane) {
  const { record, deps, driver, attendance, set } = lane;
  const arrival = createArrival({
    ...lane,
    take: lane.hold,
    async giveUp() {
      await lane.endStrays();
      await lane.endProcess();
    },
  });

  async function inHand(): Promise<Vm | undefined> {
    const found = lane.vm() ?? (record.process ? await driver.attach(record.process, lane.runDir()) : undefined);
    if (found) lane.hold(found);
    return found;
  }

  /** The control plane has said that it is the machine now. */
  async function goOn(vm: Vm): Promise<void> {
    attendance.listen(vm);
    await deps.refreshNetwork();
    await vm.resume();
    arrival.over();
    set("running", { move: null });
  }

  return {
    /** true: it is between two nodes, and all that can be done here is done. */
    async between(signal: AbortSignal): Promise<boolean> {
      const { power, move } = record.desired;
      if (power === "absent" || (!move && !record.move)) return false;
      const comes = record.phase === "preparing" || record.phase === "stopped";
      if (comes && move?.role === "target") {
        if (record.move?.n !== move.n) await arrival.run(signal);
        // An agent that was killed does not know how far it was.
        else if (record.move.stage === "moving") await arrival.refuse(INTERRUPTED);
        else if (record.move.stage === "done" && !(record.process && isAlive(record.process)))
          await arrival.refuse("its VMM ended while it waited");
        return true;
      }
      const same = record.move?.n === move?.n;
      if (!record.move || (same && record.move.stage === "failed")) return false;
      const vm = record.move.stage === "failed" ? undefined : await inHand();
      if (comes && record.move.stage === "done" && vm) {
        await goOn(vm);
        return false;
      }
      if (same && record.move.stage === "done") return true;
      // It was going, and is no longer to; or an agent was killed on the way.
      if (vm) await stay(lane, vm);
      set(record.phase, { move: vm && move ? { n: move.n, stage: "failed", reason: INTERRUPTED } : null });
      if (vm && !attendance.guest) attendance.listen(vm);
      return false;
    },
    /** It runs, and is to go. */
    isDue(): boolean {
      const { move } = record.desired;
      return record.phase === "running" && move !== null && record.move?.n !== move.n;
    },
    leave: (vm: Vm, signal: AbortSignal): Promise<void> => leave(lane, vm, signal),
    stream: arrival.stream,
  };
}
