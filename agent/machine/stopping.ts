/** Down the stopping ladder: a running machine is asked to end, ever more firmly, until its process has. */
import { HyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/messages.ts";
import type { Channel } from "#agent/guest/channel.ts";
import { isAlive, kill } from "#agent/host/process.ts";
import type { Vm } from "#runtimes/driver.ts";
import { firstRung, nextRung } from "./ladder.ts";
import type { Record } from "./record.ts";

const ASK_MS = 2_000;
const LOOK_MS = 20;

/** Until the guest has powered itself off, or for so long. */
export async function untilOff(vm: Vm, limitMs: number): Promise<void> {
  const off = Promise.withResolvers<void>();
  const look = async (): Promise<void> => {
    const state = await vm.state().catch(() => "gone");
    if (state !== "running") off.resolve();
  };
  vm.onChange(() => void look());
  await look();
  await Promise.race([off.promise, Bun.sleep(limitMs)]);
}

/** The record says on which rung it stands. Once the machine is to be gone altogether, it is no longer asked. */
export async function climbDown(
  { record, save }: { record: Record; save(): void },
  vm: Vm,
  channel: Channel | undefined,
  stopFrame: Uint8Array,
): Promise<void> {
  const asks = (): boolean => record.stopping!.rung === "init" || record.stopping!.rung === "button";
  const isUnwanted = (): boolean => record.desired.power === "absent" && asks();
  while (record.process && isAlive(record.process)) {
    const { rung } = record.stopping!;
    if (rung === "init") await channel?.ask(F.STOP, stopFrame, ASK_MS).catch(() => (record.stopping!.deadline = 0));
    if (rung === "button") await vm.powerButton().catch(() => {});
    if (rung === "vmm") await vm.quit();
    if (rung === "kill") kill(record.process, "SIGKILL");
    while (Date.now() < record.stopping!.deadline) {
      // One that no longer answers has not ended yet.
      const state = await vm.state().catch(() => "ending");
      if (state === "off") await vm.quit();
      if (!isAlive(record.process) || isUnwanted()) break;
      await Bun.sleep(LOOK_MS);
    }
    if (!isAlive(record.process)) return;
    record.stopping = isUnwanted() ? firstRung("vmm", Date.now()) : nextRung(rung, Date.now());
    if (!record.stopping) throw new HyperlaneError("FAILED", "Its process does not end, not even when killed.");
    save();
  }
}
