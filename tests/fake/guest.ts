/** The inside of a pretended machine: numbers that move as those of a small service do, the same ones at the same time. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Desired } from "#contract/wire/agent.ts";
import type { Clock } from "#control/reconcile/loop.ts";

const MIB = 2 ** 20;

/** What the agent's server asks of a lane for its stats and its log; nothing can be run in it. */
export function createFakeGuest(desired: Desired, clock: Clock) {
  const { spec } = desired;
  const seconds = (): number => clock.now() / 1000;
  // Sums over time of loads that rise and fall, so that their differences are such loads.
  const sum = (mean: number, swing: number, period: number): number =>
    seconds() * mean - ((swing * period) / (2 * Math.PI)) * Math.cos((2 * Math.PI * seconds()) / period);
  return {
    id: desired.id,
    record: { desired, logFrom: {} },
    awake: () => Promise.reject(new HyperlaneError("UNAVAILABLE", "This machine is only pretended.")),
    channel: {
      ask(): Promise<Buffer> {
        const used = 0.42 + 0.06 * Math.sin(seconds() / 23);
        const values = [
          3600,
          spec.memoryMib * MIB,
          spec.memoryMib * (1 - used) * MIB,
          0.3 * 65536,
          spec.diskMib * MIB,
          spec.diskMib * 0.71 * MIB,
        ];
        const bytes = Buffer.alloc(48);
        values.forEach((v, i) => bytes.writeBigUInt64LE(BigInt(Math.round(v)), i * 8));
        return Promise.resolve(bytes);
      },
    },
    counted: () => ({ networkInBytes: sum(46_000, 30_000, 37), networkOutBytes: sum(120_000, 90_000, 29) }),
    usage: () => Promise.resolve({ cpuMs: 1000 * spec.cpu * (sum(0.22, 0.15, 41) + sum(0.06, 0.05, 7)) }),
  };
}
