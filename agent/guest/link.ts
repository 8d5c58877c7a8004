/** The agent's hold on init in one started machine: it hands over the configuration at each boot, and knows when the machine is up. */
import { toHyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/messages.ts";
import type { GuestAddress } from "#runtimes/driver.ts";
import { openChannel, type Channel } from "./channel.ts";

const CONFIG_MS = 20_000;

export type GuestLink = {
  readonly channel: Channel;
  /** Init has its configuration, and the machine's own init reports that ssh listens. */
  readonly up: boolean;
  /** Hands over the configuration, if it has not been yet and there is one by now. */
  configure(): void;
  /** The machine began to boot again. */
  rebooted(): void;
  close(): void;
};

/** config: what init is told, or null while that is not known. workload: what it then runs, where it runs something. networked: packets of it are let through. onUp: called when `up` turns true. */
export function openGuest(
  at: GuestAddress,
  {
    config,
    workload,
    networked,
    onUp,
    onRefused,
    onReboot,
    log,
  }: {
    config(): Buffer | null;
    workload(): Buffer | null;
    networked(): Promise<void>;
    onUp(): void;
    onRefused(error: Error): void;
    /** What had its configuration waits for one again. */
    onReboot(): void;
    log(line: string): void;
  },
): GuestLink {
  let booted = false;
  let configured = false;
  let telling = false;
  const channel = openChannel(at, (stage) => {
    booted = stage >= 1;
    // Not every VMM says that its guest began again; this is how it shows.
    if (!booted && configured && !telling) {
      configured = false;
      onReboot();
    }
    configure();
    if (booted && configured) onUp();
  });

  function configure(): void {
    const bytes = configured || telling || !channel.connected ? null : config();
    if (!bytes) return;
    telling = true;
    const run = workload();
    const tell = (): Promise<Buffer> => channel.ask(F.CONFIG, bytes, CONFIG_MS);
    // Nothing of the image runs before.
    const told = run ? Promise.all([tell(), networked()]).then(() => channel.ask(F.RUN, run, CONFIG_MS)) : networked().then(tell);
    told
      .finally(() => (telling = false))
      .then(
        () => {
          configured = true;
          if (booted) onUp();
        },
        (thrown) => {
          log(`configuration: ${toHyperlaneError(thrown).message}`);
          if (toHyperlaneError(thrown).code === "FAILED") onRefused(thrown);
          // One that had no time to answer is told again, which changes nothing where it has heard.
          if (toHyperlaneError(thrown).code === "TIMEOUT") channel.resync();
        },
      );
  }

  return {
    channel,
    get up() {
      return booted && configured;
    },
    configure,
    rebooted(): void {
      booted = configured = false;
      channel.resync();
    },
    close: () => channel.close(),
  };
}
