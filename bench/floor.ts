/**
 * A node's template restored by hand: QEMU with the node's own command line, and init told who it is. Below that nobody
 * comes who has nothing ready; what our own part adds to it is seen beside it.
 */
import { closeSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { openRuntime } from "#agent/ground.ts";
import { openChannel } from "#agent/guest/channel.ts";
import { shareMemory } from "#agent/host/memory.ts";
import { tscKhz } from "#agent/host/probe.ts";
import { end } from "#agent/host/process.ts";
import { PLACES } from "#agent/machine/mounts.ts";
import { tapName } from "#agent/network/plan.ts";
import { fill } from "#agent/storage/storage.ts";
import { anonymous } from "#agent/templates/build.ts";
import { encodeConfig } from "#contract/wire/config.ts";
import { encodeExec } from "#contract/wire/frames.ts";
import { F } from "#contract/wire/messages.ts";
import { guestSocket } from "#runtimes/qemu/command.ts";
import { sh } from "#scripts/sh.ts";

const UID = 64_000;
const MEMORY_MIB = 128;

const SLEEP = encodeExec({
  ...{ argv: ["sleep", "100000"], env: [], workdir: "/", user: "", tty: false, stdin: false },
  ...{ rows: 24, cols: 80 },
});

function config(): Buffer {
  const network = { mac: "52:48:00:00:10:01", address6: "fd00::2", prefix6: 64, gateway6: "fd00::1" };
  return encodeConfig({
    root: { init: null, folders: false, copied: false },
    network: { ...network, address4: "10.77.0.2", prefix4: 16, gateway4: "10.77.0.1" },
    hostname: "floor",
    resolvConf: null,
    clockNs: BigInt(Date.now()) * 1_000_000n,
    entropy: Buffer.from(crypto.getRandomValues(new Uint8Array(64))),
    mounts: [],
    unmounts: [],
    files: [],
  });
}

/** A process's share of the memory that it maps, KiB. */
export function pssKib(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);
}

/** state: a node's folder. Milliseconds until the guest runs its command, and the share of memory (PSS, KiB) of each, of so many that stay. */
export async function restoreByHand(state: string, count: number): Promise<{ ms: number[]; pss: number[] }> {
  const home = readdirSync(`${state}/templates`)
    .map((key) => `${state}/templates/${key}`)
    .find(
      (dir) => existsSync(`${dir}/template.json`) && readFileSync(`${dir}/template.json`, "utf8").includes(`"memoryMib":${MEMORY_MIB}`),
    )!;
  const image = `${state}/images/${readdirSync(`${state}/images`).find((f) => f.endsWith(".erofs"))}`;
  const memory = await shareMemory(`${home}/base`, MEMORY_MIB * 2 ** 20);
  const dir = `${state}/floor`;
  mkdirSync(dir, { mode: 0o711 });
  const runtime = openRuntime("floor", `${state}/guest`);
  const deps = {
    node: "floor",
    runDir: dir,
    runtime,
    network: undefined as never,
    kernel: { kernel: `${state}/guest/vmlinux`, initramfs: `${state}/guest/initramfs` },
    accelerator: "tcg" as const,
    tscKhz: tscKhz(),
    places: PLACES,
  };
  const [ms, pids]: [number[], Parameters<typeof end>[0][]] = [[], []];
  try {
    for (let i = 0; i < count; i++) {
      const id = `m-floor${String(i).padStart(7, "0")}`;
      const disk = `${dir}/${id}.raw`;
      await fill(dir, disk, id, 256, UID, null);
      await sh(["ip", "tuntap", "add", "dev", tapName(id), "mode", "tap", "user", String(UID)]);
      const from = performance.now();
      const own = { id, runDir: `${dir}/${id}`, uid: UID, image, disk };
      const origin = { memory: () => Promise.resolve(memory), devices: `${home}/devices`, own: null, paused: false };
      const vm = await runtime.start(
        anonymous(deps, { cpu: 1, memoryMib: MEMORY_MIB, system: null }, { ...own, from: origin }),
        new AbortController().signal,
      );
      pids.push(vm.process);
      vm.detach();
      const there = Promise.withResolvers<void>();
      const channel = openChannel({ path: guestSocket(own.runDir), serve: false }, () => there.resolve());
      await there.promise;
      await channel.ask(F.CONFIG, config(), 20_000);
      await channel.ask(F.RUN, SLEEP, 20_000);
      ms.push(performance.now() - from);
      channel.close();
    }
    await Bun.sleep(3_000);
    return { ms, pss: pids.map((p) => pssKib(p.pid)) };
  } finally {
    for (const [i, process] of pids.entries()) {
      await end(process);
      await sh(["ip", "link", "delete", tapName(`m-floor${String(i).padStart(7, "0")}`)]);
    }
    closeSync(memory);
    rmSync(dir, { recursive: true, force: true });
  }
}
