/** A lane's hold on a machine that runs: the link to init in it, and its health check. */
import type { Identity } from "#contract/wire/agent.ts";
import { encodeContainerConfig } from "#contract/wire/config.ts";
import { guestConfig, guestWorkload } from "#agent/guest/identity.ts";
import { openGuest, type GuestLink } from "#agent/guest/link.ts";
import type { Driver, Vm } from "#runtimes/driver.ts";
import { watchHealth, type HealthWatch } from "./health.ts";
import type { LaneDeps } from "./lane.ts";
import { lastLine } from "./logs.ts";
import { mountTexts } from "./mounts.ts";
import { untilReady, type StartListener } from "./ready.ts";
import type { Record } from "./record.ts";

type Attended = {
  record: Record;
  deps: LaneDeps;
  driver: Pick<Driver, "guest">;
  container: boolean;
  runDir(): string;
  identity(): Identity | null;
  save(): void;
  /** Has the lane look again. */
  wake(): void;
};

export function createAttendance({ record, deps, driver, container, runDir, identity, save, wake }: Attended) {
  const { id } = record.desired;
  let guest: GuestLink | undefined;
  let health: HealthWatch | undefined;
  let starting: StartListener | undefined;

  function config(): Buffer | null {
    const known = identity();
    if (!known) return null;
    return container ? encodeContainerConfig() : guestConfig(record, known, deps.network.network, mountTexts(record));
  }

  function up(): void {
    starting?.up();
    if (!record.readdress) return;
    record.readdress = false;
    save();
  }

  return {
    get guest() {
      return guest;
    },
    get health() {
      return health?.status ?? null;
    },
    listen(vm: Vm): void {
      vm.onChange((what) => {
        if (what === "reset") guest?.rebooted();
        // Nobody reboots a machine that is only coming up: what it went on from was no machine.
        const comingUp = record.phase === "preparing" || record.phase === "starting";
        if (what === "reset" && comingUp && record.template !== null) deps.templates.spoil(record.template, "its machine crashed");
        if (what === "off" || what === "gone" || what === "paused") wake();
      });
      if (record.desired.workload.kind === "own") return;
      guest = openGuest(driver.guest(runDir()), {
        config,
        workload: () => guestWorkload(record.desired),
        networked: deps.refreshNetwork,
        onUp: up,
        onRefused: (error) => starting?.refused(error),
        // A machine that runs one workload ends with it: its kernel has panicked.
        onReboot: () => void (record.desired.workload.kind === "process" && vm.quit().then(wake, () => {})),
        log: (line) => deps.log(`${record.desired.name}: ${line}`),
      });
    },
    async becomeReady(vm: Vm, signal: AbortSignal): Promise<"up" | "ended"> {
      // Nobody in it says when it is up.
      if (!guest) return (await vm.state()) === "running" ? "up" : "ended";
      const consoleSays = (): string => lastLine(deps.logsDir, id);
      return await untilReady(vm, guest, (listener) => void (starting = listener), { signal, timeoutMs: deps.bootTimeoutMs, consoleSays });
    },
    watch(): void {
      health ??= guest && watchHealth(record.desired.workload, guest.channel, () => deps.changed(id));
    },
    close(): void {
      health?.stop();
      health = undefined;
      guest?.close();
      guest = undefined;
    },
  };
}
