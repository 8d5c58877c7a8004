/**
 * Makes a template: a machine that is nobody boots, and is saved when it waits to hear who it is; or, of an image with
 * an init of its own, when all of that is up. What is saved appears as a whole, or not at all.
 */
import { rmSync } from "node:fs";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { encodeExec } from "#contract/wire/frames.ts";
import { F } from "#contract/wire/messages.ts";
import { openChannel, type Channel } from "#agent/guest/channel.ts";
import { anonymousConfig } from "#agent/guest/identity.ts";
import { removeCgroup } from "#agent/host/cgroup.ts";
import { saveDisk } from "#agent/host/memory.ts";
import { end } from "#agent/host/process.ts";
import type { Network } from "#agent/network/apply.ts";
import { NOBODYS_MAC, tapName } from "#agent/network/plan.ts";
import { format } from "#agent/storage/storage.ts";
import type { Driver, GuestAddress, Origin, VmSpec } from "#runtimes/driver.ts";
import type { Shape } from "./shape.ts";

export type BuildDeps = {
  node: string;
  runDir: string;
  runtime: Driver;
  network: Network;
  kernel: { kernel: string; initramfs: string };
  accelerator: "kvm" | "tcg";
  tscKhz: number;
  places: number;
};

/** No machine's: their slots begin above. */
const UID = 899_999;
const BOOT_MS = 120_000;
const STILL_MS = 20_000;
const SETTLE_MS = 90_000;
/** A guest reports pages as free two seconds after it has freed them (Linux, mm/page_reporting.c): what is saved later need not. */
export const REPORTED_MS = 3_000;

export type BuildFrom = { origin: Origin; base: string };

/** dir: an empty folder. image: the image's file, for a system. from: what it may go on from itself. Breaks off when told to. */
export async function buildTemplate(
  deps: BuildDeps,
  shape: Shape,
  dir: string,
  { image, from }: { image: string | null; from: BuildFrom | null },
  signal: AbortSignal,
): Promise<void> {
  const id = nobodysId();
  const runDir = `${deps.runDir}/${id}`;
  const disk = `${dir}/disk.raw`;
  const { system } = shape;
  await using undo = new AsyncDisposableStack();
  if (system) await format(disk, id, system.diskMib, UID);
  undo.defer(() => rmSync(disk, { force: true }));
  undo.defer(() => deps.network.detach(id));
  await deps.network.attach(id, UID);
  undo.defer(() => rmSync(runDir, { recursive: true, force: true }));
  undo.defer(() => removeCgroup(`${deps.node}.${id}`));
  const vm = await deps.runtime.start(
    anonymous(deps, shape, { id, runDir, uid: UID, image, disk: system && disk, from: from && from.origin }),
    signal,
  );
  undo.defer(() => vm.detach());
  undo.defer(() => end(vm.process));
  const guest = await connect(deps.runtime.guest(runDir), undo);
  const come = async (): Promise<void> => {
    await guest.reached(0, BOOT_MS);
    if (system) {
      await guest.channel.ask(F.CONFIG, anonymousConfig(system.init), BOOT_MS);
      await guest.reached(1, BOOT_MS);
      await settle(guest.channel);
    }
    await Bun.sleep(REPORTED_MS);
    await guest.channel.ask(F.FREEZE, Buffer.from([2]), STILL_MS);
  };
  const off = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => off.reject(signal.reason));
  await Promise.race([come(), off.promise]);
  await vm.save({ devices: `${dir}/devices`, pages: `${dir}/base`, whole: from && from.base }, shape.memoryMib);
  if (system) await saveDisk(disk, `${dir}/disk`);
}

/** Like a machine's, so that what is left of it, should we be killed, is found and removed like one. */
export function nobodysId(): string {
  return `m-${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`;
}

export function anonymous(
  deps: BuildDeps,
  { cpu, memoryMib, system }: Shape,
  own: Pick<VmSpec, "id" | "runDir" | "uid" | "image" | "disk" | "from">,
): VmSpec {
  return {
    ...own,
    name: "template",
    own: null,
    cpu,
    memoryMib,
    ...deps.kernel,
    volumes: Array.from({ length: deps.places }, () => ({ file: null, readonly: false })),
    folders: [],
    devices: [],
    tap: tapName(own.id),
    mac: NOBODYS_MAC,
    accelerator: deps.accelerator,
    tscKhz: deps.tscKhz,
    consoleLog: "/dev/null",
    workloadLog: "/dev/null",
    init: system?.init ?? null,
  };
}

export async function connect(at: GuestAddress, undo: AsyncDisposableStack) {
  let stage = -1;
  let told = Promise.withResolvers<void>();
  const channel = openChannel(at, (reached) => {
    stage = reached;
    told.resolve();
    told = Promise.withResolvers();
  });
  undo.defer(() => channel.close());
  const reached = async (wanted: number, timeoutMs: number): Promise<void> => {
    const late = Bun.sleep(timeoutMs).then(() => {
      throw new HyperlaneError("TIMEOUT", `The machine that was to be nobody did not come up within ${timeoutMs / 1000} s.`);
    });
    late.catch(() => {});
    while (stage < wanted) await Promise.race([told.promise, late]);
  };
  return { channel, reached };
}

/** Until systemd has nothing left to start. Its exit code tells of units that failed, which are the image's own affair, as is another init. */
async function settle(channel: Channel): Promise<void> {
  const words = { argv: ["systemctl", "is-system-running", "--wait"], env: [], workdir: "/", user: "0", tty: false, stdin: false };
  const exit = channel.ask(F.EXEC, encodeExec({ ...words, rows: 24, cols: 80 }), SETTLE_MS);
  await exit.catch((thrown) => {
    if (toHyperlaneError(thrown).code !== "FAILED") throw thrown;
  });
}
