/**
 * Firecracker, for the agent: the class beside this file, started as nobody and found again by its folder. A place for a volume
 * is a drive of no size, whose file is changed while the machine runs. What it saves is all of its RAM.
 */
import { chownSync, copyFileSync, rmSync } from "node:fs";
import { asNobody, bootsFrom, kernelCommandLine, OWN, vsockSocket } from "../command.ts";
import type { Driver, ProcessId, Vm, VmSpec, VmState } from "../driver.ts";
import { VSOCK_PORT } from "../guest.ts";
import { byFolder, giveFile, kvmGroup, launch, linkFiles, makeRunDir, serveLog, startClass, watchEnd, type HostDoors } from "../launch.ts";
import { UnsupportedError } from "../runtime.ts";
import { firecrackerArgv } from "./command.ts";
import { Machine, type MachineOptions } from "./machine.ts";

/** binary: Firecracker. relay: runtimes/relay.c; both as programs. */
type Programs = { binary: string; relay: string };
/** As the kernel finds them: /dev/vda, /dev/vdb, and the volumes. */
const placeId = (place: number): string => `volume${place}`;
const apiSocket = (runDir: string): string => `${runDir}/api.sock`;
/** The descriptor that it is started with, if it goes on from saved RAM. */
const MEMORY = "/proc/self/fd/3";

export function createFirecracker(host: HostDoors, { binary, relay }: Programs): Driver {
  return {
    name: "firecracker",
    savesWhole: true,
    guest: (runDir) => ({ path: vsockSocket(runDir), port: VSOCK_PORT }),
    version: async () => (await host.run([binary, "--version"])).split("\n")[0]!,
    async start(spec, signal) {
      makeRunDir(spec);
      linkFiles(spec);
      const log = `${spec.runDir}/vmm.log`;
      giveFile(log, spec.uid);
      await serveLog(spec, relay, host, signal);
      const machine = new Machine(optionsOf(spec));
      const start = async (): Promise<ProcessId> => {
        const program = firecrackerArgv({ binary, id: spec.id, socketPath: apiSocket(spec.runDir) });
        const argv = [...asNobody(spec.uid, kvmGroup()), ...program, "--log-path", log, "--level", "Warning"];
        const descriptors = spec.from ? [await spec.from.memory()] : [];
        return await launch(spec, argv, { output: spec.consoleLog, socket: apiSocket(spec.runDir), descriptors }, host, signal);
      };
      return createVm(await startClass(machine, start, { host, log }), machine, host, spec.runDir);
    },
    ...byFolder(host, (process, runDir) => createVm(process, new Machine({ socketPath: apiSocket(runDir) }), host, runDir)),
  };
}

/** Its drives, in the order in which the kernel finds them. */
function optionsOf(spec: VmSpec): MachineOptions {
  const drive = (id: string, file: string, readonly: boolean) => ({
    ...{ drive_id: id, path_on_host: file, is_root_device: false, is_read_only: readonly },
  });
  const common = { id: spec.id, socketPath: apiSocket(spec.runDir) };
  if (spec.from) {
    const devices = `${spec.runDir}/devices`;
    copyFileSync(spec.from.devices, devices);
    chownSync(devices, spec.uid, spec.uid);
    const mem_backend = { backend_type: "File" as const, backend_path: MEMORY };
    return { ...common, from: { snapshot_path: devices, mem_backend, resume_vm: !spec.from.paused } };
  }
  const boots = bootsFrom(spec);
  return {
    ...common,
    kernelImagePath: boots.kernel,
    ...(boots.initramfs !== null && { initrdPath: boots.initramfs }),
    kernelArgs: kernelCommandLine(spec, "resets"),
    vcpuCount: spec.cpu,
    memSizeMib: spec.memoryMib,
    drives: [
      ...(spec.own ? [] : [drive("image", OWN.image, true)]),
      drive("disk", OWN.disk, false),
      ...spec.volumes.map((v, place) => drive(placeId(place), v.file ?? OWN.empty, v.readonly)),
    ],
    networkInterfaces: [{ iface_id: "eth0", host_dev_name: spec.tap, guest_mac: spec.mac }],
    vsock: { guest_cid: 3, uds_path: OWN.vsock },
    balloon: { amount_mib: 0, deflate_on_oom: true },
    entropy: {},
  };
}

function createVm(process: ProcessId, machine: Machine, host: HostDoors, runDir: string): Vm {
  const { api } = machine;
  const fileOf = async (place: number): Promise<string> => {
    const { drives = [] } = await api.getExportVmConfig();
    return drives.find((d) => d.drive_id === placeId(place))!.path_on_host!;
  };
  return {
    process,
    async state(): Promise<VmState> {
      if (!host.isAlive(process)) return "gone";
      try {
        return (await api.describeInstance()).state === "Paused" ? "paused" : "running";
      } catch (thrown) {
        if (!host.isAlive(process)) return "gone";
        throw thrown;
      }
    },
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    // Its guest takes that for a reboot, with which Firecracker ends.
    powerButton: () => api.createSyncAction({ action_type: "SendCtrlAltDel" }),
    become: () => Promise.reject(new UnsupportedError("A Firecracker machine is nobody else's.")),
    confine: (spec) => host.confine(spec.id, process.pid, spec),
    insertVolume: (place, file) => machine.updateDrive(placeId(place), file),
    removeVolume: (place) => machine.updateDrive(placeId(place), OWN.empty),
    // Told of the same file again, it looks how large it is.
    growVolume: async (place) => machine.updateDrive(placeId(place), await fileOf(place)),
    async save(to) {
      if ((await api.describeInstance()).state !== "Paused") await machine.pause();
      const [devices, memory] = [`${runDir}/devices.out`, `${runDir}/memory.out`];
      try {
        await api.createSnapshot({ snapshot_path: devices, mem_file_path: memory, snapshot_type: "Full" });
        copyFileSync(devices, to.devices);
        await host.packMemory(memory, to.pages);
      } finally {
        for (const file of [devices, memory]) rmSync(file, { force: true });
      }
    },
    mover: null,
    usage: async () => null,
    // It has no other way to be ended from outside.
    quit: () => host.kill(process),
    ...watchEnd(machine.socketPath, () => host.isAlive(process)),
  };
}
