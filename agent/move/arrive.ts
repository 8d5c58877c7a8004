/**
 * A machine's way from another node, at the node that it comes to: a VMM of the same shape waits here, its disk and its RAM are written
 * into it, and it stands still until the control plane says that it is the machine now.
 */
import { createWriteStream, renameSync, rmSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createConnection } from "node:net";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { MoveStream } from "#contract/wire/agent.ts";
import type { Addresses } from "#agent/network/plan.ts";
import { baseFile, originIn } from "#agent/machine/memory.ts";
import { vmSpec } from "#agent/machine/spec.ts";
import type { Vm, VmSpec } from "#runtimes/driver.ts";
import { openControl, untilLost, type Leaver } from "./leave.ts";
import { PARTS, receiveSaved, type Part } from "./saved.ts";
import { join, refuse, type Stream } from "./streams.ts";
import { vmmOf } from "./words.ts";

export type Arriver = Leaver & {
  addresses(): Addresses;
  set(phase: "preparing"): void;
  take(vm: Vm): void;
  /** Ends what waits, and all that it had. */
  giveUp(): Promise<void>;
};
/** What takes the streams of a machine that comes. came: all of it has; it stands still. broken: rejects where it never will. */
type Incoming = {
  take(carries: MoveStream["carries"], stream: Stream): void;
  came(signal: AbortSignal): Promise<void>;
  broken: Promise<never>;
};

/** Who is to come is on its way already. */
const COME_MS = 30_000;
const HELLO_MS = 5_000;
const SENT_MS = 24 * 3600_000;

export function createArrival(s: Arriver) {
  const { record, deps } = s;
  const { id } = record.desired;
  let came = Promise.withResolvers<Stream>();
  let still: number | undefined;
  let incoming: Incoming | undefined;

  const note = (stage: "moving" | "done" | "failed", reason: string | null = null): void => {
    record.move = { n: record.desired.move!.n, stage, reason };
    s.save();
  };

  async function receive(signal: AbortSignal): Promise<void> {
    const { rootfs, spec, epoch } = record.desired;
    const image = await deps.images.arrived(rootfs!, signal);
    const disk = await deps.storage.createDisk(id, spec.diskMib, s.uid());
    await deps.network.attach(id, s.uid());
    const { control, hello } = await meet(signal);
    const { passport, diskBytes, vmm } = hello;
    try {
      if (diskBytes !== spec.diskMib * 2 ** 20) throw new HyperlaneError("FAILED", "its disk is of another size than it should be");
      const ours = await vmmOf(s.vmm);
      if (vmm !== ours) throw new HyperlaneError("UNSUPPORTED", `there it ran on ${vmm}, and here it would on ${ours}`);
      Object.assign(record, passport, { template: null, epoch, readdress: true });
      const volumes = record.places.map(({ readonly }) => ({ file: null, readonly }));
      const ready = { image, disk, volumes, folders: [], devices: [], runDir: s.runDir(), uid: s.uid(), from: null };
      const made = vmSpec(record, deps, s.addresses(), ready);
      incoming = s.vmm.receive ? await whileItRuns(made, passport.origin === "boot", signal) : asSaved(disk, made);
      control.say({ kind: "ready" });
      still = (await Promise.race([control.hear("sent", SENT_MS, signal), incoming.broken])).since;
      await untilLost(control, signal, incoming.came);
      note("done");
      control.say({ kind: "arrived" });
    } catch (thrown) {
      control.say({ kind: "failed", reason: toHyperlaneError(thrown).message });
      throw thrown;
    } finally {
      incoming = undefined;
    }
  }

  /** A VMM of the same shape waits for it. */
  async function whileItRuns(spec: VmSpec, boots: boolean, signal: AbortSignal): Promise<Incoming> {
    const waiting = await s.vmm.receive!(spec, boots, signal);
    s.take(waiting.vm);
    s.save();
    const { promise: broken, reject } = Promise.withResolvers<never>();
    broken.catch(() => {});
    waiting.vm.onChange((what) => void (what === "gone" && reject(new HyperlaneError("FAILED", "what waited for it ended"))));
    return {
      broken,
      take(carries, stream): void {
        if (carries === "disk" || carries === "memory") join(stream, createConnection({ path: waiting[carries], allowHalfOpen: true }));
      },
      came: (or) => waiting.arrived(or),
    };
  }

  /** Its VMM is started once all that it goes on from is there. */
  function asSaved(disk: string, spec: VmSpec): Incoming {
    const dir = arrivingDir();
    const parts = receiveSaved({ disk, dir });
    return {
      broken: parts.broken,
      take: (carries, stream) => parts.take(carries as Part, stream),
      async came(signal): Promise<void> {
        await parts.all;
        const base = baseFile(deps.recordsDir, id);
        renameSync(`${dir}/pages`, base);
        const from = { ...originIn(deps, dir, base, spec.memoryMib), paused: true };
        s.take(await s.vmm.start({ ...spec, from }, signal));
        s.save();
      },
    };
  }

  function arrivingDir(): string {
    return `${deps.recordsDir}/${id}/arriving`;
  }

  /** Whoever dialled before we were ready may have left again. */
  async function meet(signal: AbortSignal) {
    for (;;) {
      const control = openControl(await within(came.promise, COME_MS, signal));
      came = Promise.withResolvers();
      const hello = await control.hear("hello", HELLO_MS, signal).catch((thrown) => {
        signal.throwIfAborted();
        if (!["UNAVAILABLE", "TIMEOUT"].includes(toHyperlaneError(thrown).code)) throw thrown;
      });
      if (hello) return { control, hello };
    }
  }

  return {
    /** Until all of it has come, or it stays there. */
    async run(signal: AbortSignal): Promise<void> {
      s.set("preparing");
      note("moving");
      try {
        await receive(signal);
      } catch (thrown) {
        await this.refuse(toHyperlaneError(thrown).message);
        signal.throwIfAborted();
      }
    },
    /** It runs here. How long it did not run anywhere goes to the log, as far as the two clocks agree. */
    over(): void {
      rmSync(arrivingDir(), { recursive: true, force: true });
      const stood = still === undefined ? "" : `; it stood still for ${Date.now() - still} ms`;
      deps.log(`${record.desired.name} has come from another node${stood}.`);
    },
    /** Nothing of it is left here. */
    async refuse(reason: string): Promise<void> {
      await s.giveUp();
      rmSync(arrivingDir(), { recursive: true, force: true });
      deps.templates.release(baseFile(deps.recordsDir, id));
      await deps.storage.remove(id);
      if (record.desired.move) note("failed", reason);
    },
    /** One of the streams from the other node. */
    stream({ carries }: MoveStream, stream: Stream): void {
      if (carries === "control") return came.resolve(stream);
      if (!incoming) return refuse(stream, new HyperlaneError("STATE", "Nothing waits for it here."));
      if (carries === "memory" || PARTS.some((part) => part === carries)) return incoming.take(carries, stream);
      void pipeline(stream, createWriteStream(`${deps.logsDir}/${id}/${carries}.log`, { flags: "a" })).then(
        () => stream.end(),
        (thrown) => (refuse(stream, thrown), deps.log(`${record.desired.name}: ${toHyperlaneError(thrown).message}`)),
      );
    },
  };
}

async function within<T>(promise: Promise<T>, ms: number, signal: AbortSignal): Promise<T> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new HyperlaneError("TIMEOUT", `Nobody came within ${ms / 1000} s.`)), ms);
  signal.addEventListener("abort", () => reject(signal.reason));
  return await Promise.race([promise, over]).finally(() => clearTimeout(timer));
}
