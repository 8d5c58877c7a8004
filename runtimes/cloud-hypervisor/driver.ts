/**
 * Cloud Hypervisor, for the agent: the class beside this file, started as nobody and found again by its folder. Volumes are
 * plugged in and out. What it saves is all of its RAM. How it ended, it writes into a file of events.
 */
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { asNobody, bootsFrom, folderSocket, folderTag, kernelCommandLine, OWN, vsockSocket } from "../command.ts";
import type { Driver, ProcessId, Vm, VmSpec, VmState } from "../driver.ts";
import { VSOCK_PORT } from "../guest.ts";
import {
  byFolder,
  giveFile,
  kvmGroup,
  launch,
  linkFiles,
  makeRunDir,
  serveFolders,
  serveLog,
  startClass,
  watchEnd,
  type HostDoors,
} from "../launch.ts";
import { UnsupportedError } from "../runtime.ts";
import { Machine, type MachineOptions } from "./machine.ts";

type Programs = { binary: string; relay: string };
const apiSocket = (runDir: string): string => `${runDir}/api.sock`;
const eventsFile = (runDir: string): string => `${runDir}/events`;
const placeId = (place: number): string => `volume${place}`;
const MEMORY = "/proc/self/fd/3";
/** What a snapshot of it is made of (Cloud Hypervisor, docs/snapshot_restore.md); RAM is the third file. */
const STATE_FILES = ["config.json", "state.json"];
const RAM_FILE = "memory-ranges";
const UNPLUG_MS = 10_000;
const BYTES = 2 ** 20;

export function createCloudHypervisor(host: HostDoors, { binary, relay }: Programs): Driver {
  return {
    name: "cloud-hypervisor",
    savesWhole: true,
    guest: (runDir) => ({ path: vsockSocket(runDir), port: VSOCK_PORT }),
    version: async () => (await host.run([binary, "--version"])).split("\n")[0]!,
    async start(spec, signal) {
      makeRunDir(spec);
      linkFiles(spec);
      const { runDir, uid } = spec;
      const log = `${runDir}/vmm.log`;
      giveFile(eventsFile(runDir), uid);
      await serveFolders(spec, host, signal);
      await serveLog(spec, relay, host, signal);
      const machine = new Machine(optionsOf(spec));
      const start = async (): Promise<ProcessId> => {
        const api = ["--api-socket", `path=${apiSocket(runDir)}`, "--event-monitor", `path=${eventsFile(runDir)}`];
        const argv = [...asNobody(uid, kvmGroup(), spec.devices.length > 0), binary, ...api];
        const descriptors = spec.from ? [await spec.from.memory()] : [];
        return await launch(spec, argv, { output: log, socket: apiSocket(runDir), descriptors }, host, signal);
      };
      if (spec.from && !spec.from.paused) machine.handlers.init.append("Resume", (m) => m.resume());
      return createVm(await startClass(machine, start, { host, log }), machine, host, runDir);
    },
    ...byFolder(host, (process, runDir) => createVm(process, new Machine({ socketPath: apiSocket(runDir) }), host, runDir)),
  };
}

/** Disks in the order in which the kernel finds them; a place for a volume that is free is nothing at all. */
function optionsOf(spec: VmSpec): MachineOptions {
  const common = { id: spec.id, socketPath: apiSocket(spec.runDir) };
  if (spec.from) return { ...common, from: { source_url: `file://${unpack(spec, spec.from.devices)}` } };
  const boots = bootsFrom(spec);
  const disk = (id: string, path: string, readonly: boolean) => ({ id, path, readonly, image_type: "Raw" as const });
  return {
    ...common,
    payload: {
      kernel: boots.kernel,
      ...(boots.initramfs !== null && { initramfs: boots.initramfs }),
      cmdline: kernelCommandLine(spec, "vsock"),
    },
    cpus: { boot_vcpus: spec.cpu, max_vcpus: spec.cpu },
    // A folder's daemon reads and writes it as well.
    memory: { size: spec.memoryMib * BYTES, shared: spec.folders.length > 0 },
    disks: [
      ...(spec.own ? [] : [disk("image", OWN.image, true)]),
      disk("disk", OWN.disk, false),
      ...spec.volumes.flatMap((v, place) => (v.file === null ? [] : [disk(placeId(place), v.file, v.readonly)])),
    ],
    ...(spec.folders.length && {
      fs: spec.folders.map((_, i) => ({ tag: folderTag(i), socket: folderSocket(spec.runDir, i), num_queues: 1, queue_size: 1024 })),
    }),
    net: [{ id: "eth0", tap: spec.tap, mac: spec.mac }],
    rng: { src: "/dev/urandom" },
    balloon: { size: 0, deflate_on_oom: true, free_page_reporting: true },
    serial: { mode: "File", file: OWN.console },
    console: { mode: "Off" },
    vsock: { cid: 3, socket: OWN.vsock },
    ...(spec.devices.length && { devices: spec.devices.map((address) => ({ path: `/sys/bus/pci/devices/${address}` })) }),
  };
}

/** As it wants to find what it goes on from. */
function unpack({ runDir, uid }: VmSpec, devices: string): string {
  const dir = `${runDir}/from`;
  mkdirSync(dir, { mode: 0o700 });
  const files = JSON.parse(readFileSync(devices, "utf8")) as Record<string, string>;
  for (const [name, text] of Object.entries(files)) writeFileSync(`${dir}/${name}`, text);
  symlinkSync(MEMORY, `${dir}/${RAM_FILE}`);
  for (const path of [dir, ...Object.keys(files).map((name) => `${dir}/${name}`)]) chownSync(path, uid, uid);
  return dir;
}

function createVm(process: ProcessId, machine: Machine, host: HostDoors, runDir: string): Vm {
  const { api } = machine;
  const lost = (): VmState => (/"event":\s*"shutdown"/.test(textOf(eventsFile(runDir))) ? "off" : "gone");
  return {
    process,
    async state(): Promise<VmState> {
      if (!host.isAlive(process)) return lost();
      try {
        const { state } = await api.getVmInfo();
        return state === "Shutdown" ? "off" : state === "Running" ? "running" : "paused";
      } catch (thrown) {
        if (!host.isAlive(process)) return lost();
        throw thrown;
      }
    },
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    powerButton: () => api.powerButtonVm(),
    become: () => Promise.reject(new UnsupportedError("A Cloud Hypervisor machine is nobody else's.")),
    confine: (spec) => host.confine(spec.id, process.pid, spec),
    insertVolume: async (place, file) => void (await machine.addDisk({ id: placeId(place), path: file, image_type: "Raw" })),
    async removeVolume(place) {
      await machine.removeDevice(placeId(place));
      // Gone once its guest has let go of it: until then the next one would get another letter.
      for (const deadline = Date.now() + UNPLUG_MS; Date.now() < deadline; await Bun.sleep(20))
        if (!(placeId(place) in ((await api.getVmInfo()).device_tree ?? {}))) return;
      throw new Error(`The guest does not let go of ${placeId(place)}.`);
    },
    growVolume: (place, bytes) => machine.resizeDisk({ id: placeId(place), desired_size: bytes }),
    async save(to) {
      if ((await api.getVmInfo()).state !== "Paused") await machine.pause();
      const dir = `${runDir}/out`;
      try {
        rmSync(dir, { recursive: true, force: true });
        mkdirSync(dir, { mode: 0o777 });
        chownSync(dir, statSync(runDir).uid, statSync(runDir).uid);
        await api.snapshotVm({ destination_url: `file://${dir}` });
        writeFileSync(to.devices, JSON.stringify(Object.fromEntries(STATE_FILES.map((f) => [f, readFileSync(`${dir}/${f}`, "utf8")]))));
        await host.packMemory(`${dir}/${RAM_FILE}`, to.pages);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
    mover: null,
    usage: async () => null,
    quit: async () => void (await api.shutdownVmm().catch(() => {})),
    ...watchEnd(machine.socketPath, () => host.isAlive(process)),
  };
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}
