/** A QEMU machine, on its own: `new Machine({...})`, then start, exec, add disks, snapshot, shutdown. On KVM where a guest runs there, and emulated elsewhere. */
import { createReadStream, createWriteStream, existsSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { pipeline } from "node:stream/promises";
import { execIn } from "../guest.ts";
import { EXEC_MS, VmmMachine } from "../machine.ts";
import { UnsupportedError, type ExecResult, type RuntimeInfo, type RuntimeStatus } from "../runtime.ts";
import { startVmm, tail, within } from "../vmm.ts";
import { escape, GUEST_PORT, QEMU } from "./command.ts";
import { connectQmp, type Qmp } from "./qmp.ts";

export type QemuDisk = { path: string; id?: string; readonly?: boolean; format?: "raw" | "qcow2" };
export type QemuNet = { tap: string; mac?: string; id?: string };

/**
 * socketPath: of QMP. machineType: "microvm" starts sooner; to a "q35" disks can be added, and CPUs up to maxVcpuCount.
 * guestSocket: where our init in the machine is reached, for exec. from: file:// a snapshot to go on from. serialPath: the file
 * that takes what the guest says on its console.
 */
export type MachineOptions = {
  id?: string;
  socketPath?: string;
  binary?: string;
  logPath?: string;
  serialPath?: string;
  machineType?: "microvm" | "q35";
  accelerator?: "kvm" | "tcg";
  kernelImagePath?: string;
  kernelArgs?: string;
  initrdPath?: string;
  vcpuCount?: number;
  maxVcpuCount?: number;
  memSizeMib?: number;
  disks?: readonly QemuDisk[];
  net?: readonly QemuNet[];
  guestSocket?: string;
  from?: string;
};

const MIGRATION_MS = 600_000;
const POLL_MS = 10;

export class Machine extends VmmMachine {
  readonly type = "qemu";
  readonly options: MachineOptions;
  #qmp: Qmp | undefined;

  constructor(options: MachineOptions) {
    const { id = `qemu-${crypto.randomUUID().slice(0, 8)}`, socketPath = `/tmp/${id}.sock` } = options;
    super(id, socketPath);
    this.options = options;
    this.handlers.validation.append("ConfigValidation", (m) => m.#validate());
    this.handlers.init
      .append("StartVMM", (m) => m.#startVmm())
      .append(options.from === undefined ? "BootVm" : "RestoreVm", async (m) => {
        if (m.options.from !== undefined) await m.#restore(pathOf(m.options.from));
        await m.qmp("cont");
      });
  }

  /** The power button, which the guest may heed. */
  protected askToEnd(): Promise<unknown> {
    return this.qmp("system_powerdown");
  }

  protected override clear(): void {
    this.#qmp?.close();
    this.#qmp = undefined;
    super.clear();
  }

  async pause(): Promise<void> {
    await this.qmp("stop");
  }

  async resume(): Promise<void> {
    await this.qmp("cont");
  }

  async getInfo(): Promise<RuntimeInfo> {
    const { vcpuCount = 1, memSizeMib = 128 } = this.options;
    const info = this.atRest(vcpuCount, memSizeMib);
    if (!this.isRunning()) return info;
    const [{ status }, { qemu }, cpus] = (await Promise.all([
      this.qmp("query-status"),
      this.qmp("query-version"),
      this.qmp("query-cpus-fast"),
    ])) as [{ status: string }, { qemu: { major: number; minor: number; micro: number } }, unknown[]];
    return { ...info, cpus: cpus.length, status: STATUS[status] ?? "running", version: `${qemu.major}.${qemu.minor}.${qemu.micro}` };
  }

  async exec(cmd: readonly string[], timeoutMs = EXEC_MS): Promise<ExecResult> {
    const { guestSocket } = this.options;
    if (guestSocket === undefined) throw new UnsupportedError("To run commands in it, a machine needs our init, and guestSocket.");
    return await execIn({ path: guestSocket }, cmd, timeoutMs);
  }

  /** One more while it runs; to a q35. */
  async addDisk({ path, id = `disk${crypto.randomUUID().slice(0, 8)}`, readonly = false, format = "raw" }: QemuDisk): Promise<string> {
    this.#needsPci("get a disk");
    await this.qmp("blockdev-add", {
      driver: format,
      "node-name": `node-${id}`,
      "read-only": readonly,
      file: { driver: "file", filename: path },
    });
    try {
      await this.qmp("device_add", { driver: "virtio-blk-pci", drive: `node-${id}`, id, bus: await this.#freePort() });
    } catch (thrown) {
      await this.qmp("blockdev-del", { "node-name": `node-${id}` });
      throw thrown;
    }
    return id;
  }

  /** Once the guest has let go of it. */
  async removeDevice(id: string): Promise<void> {
    this.#needsPci("lose a device");
    const gone = Promise.withResolvers<void>();
    this.#qmp!.onEvent(({ event, data }) => void (event === "DEVICE_DELETED" && data?.device === id && gone.resolve()));
    await this.qmp("device_del", { id });
    if (!(await within(MIGRATION_MS, gone.promise))) throw new Error(`The guest does not let go of ${id}.`);
    await this.qmp("blockdev-del", { "node-name": `node-${id}` });
  }

  /** CPUs added, up to maxVcpuCount. */
  async resize({ vcpuCount }: { vcpuCount: number }): Promise<void> {
    this.#needsPci("get CPUs");
    type Slot = { "qom-path"?: string; type: string; props: object };
    const slots = (await this.qmp("query-hotpluggable-cpus")) as Slot[];
    const free = slots.filter((s) => !s["qom-path"]).reverse();
    const more = vcpuCount - (slots.length - free.length);
    if (more < 0) throw new UnsupportedError("A running QEMU machine gives no CPU back: restart it with fewer.");
    if (more > free.length) throw new Error(`It can have at most ${slots.length} CPUs: start it with a larger maxVcpuCount.`);
    for (const [i, { type, props }] of free.slice(0, more).entries())
      await this.qmp("device_add", { driver: type, id: `cpu-${slots.length - free.length + i}`, ...props });
  }

  /** url: file:// a file that is to hold its RAM and devices; its disks are not in it. It stands still meanwhile. */
  async createSnapshot(url: string): Promise<void> {
    const path = pathOf(url);
    const socket = `${this.socketPath}.out`;
    rmSync(socket, { force: true });
    const written = Promise.withResolvers<void>();
    const server = createServer((s) => void pipeline(s, createWriteStream(path)).then(written.resolve, written.reject));
    await new Promise<void>((done) => server.listen(socket, done));
    const ran = ((await this.qmp("query-status")) as { status: string }).status === "running";
    try {
      await this.qmp("stop");
      await this.qmp("migrate", { uri: `unix:${socket}` });
      await this.#untilMigrated();
      await written.promise;
    } finally {
      server.close();
      rmSync(socket, { force: true });
      if (ran) await this.qmp("cont");
    }
  }

  /** A command of QMP's. */
  async qmp(command: string, args?: object): Promise<unknown> {
    if (!this.#qmp) throw new Error(`${this.id} does not run.`);
    return await this.#qmp.execute(command, args);
  }

  async #restore(path: string): Promise<void> {
    const socket = `${this.socketPath}.in`;
    rmSync(socket, { force: true });
    await this.qmp("migrate-incoming", { uri: `unix:${socket}` });
    // QEMU reads no further than it needs, and leaves: whether all has come it says itself.
    await pipeline(createReadStream(path), createConnection(socket)).catch(() => {});
    await this.#untilMigrated();
    rmSync(socket, { force: true });
  }

  async #untilMigrated(): Promise<void> {
    for (const deadline = Date.now() + MIGRATION_MS; ; await new Promise((done) => setTimeout(done, POLL_MS))) {
      const { status, "error-desc": why } = (await this.qmp("query-migrate")) as { status?: string; "error-desc"?: string };
      if (status === "completed") return;
      if (status === "failed" || Date.now() > deadline)
        throw new Error(`Its state could not be moved: ${why ?? status ?? "it took too long"}`);
    }
  }

  #needsPci(what: string): void {
    if (this.options.machineType !== "q35") throw new UnsupportedError(`A microvm cannot ${what} while it runs: choose machineType "q35".`);
  }

  async #freePort(): Promise<string> {
    type Bus = { bus: number; devices: { qdev_id: string; pci_bridge?: { devices?: unknown[] } }[] };
    const buses = (await this.qmp("query-pci")) as Bus[];
    const port = buses.flatMap((b) => b.devices).find((d) => /^hotplug\d+$/.test(d.qdev_id) && !d.pci_bridge?.devices?.length);
    if (!port) throw new Error(`It has no place left for a device: at most ${HOTPLUG_PORTS}.`);
    return port.qdev_id;
  }

  #validate(): void {
    const {
      kernelImagePath,
      disks = [],
      vcpuCount = 1,
      maxVcpuCount = vcpuCount,
      memSizeMib = 128,
      from,
      machineType = "microvm",
    } = this.options;
    if (!kernelImagePath && !disks.length) throw new Error("Something to boot must be named: kernelImagePath, or a disk.");
    if (maxVcpuCount < vcpuCount) throw new Error(`maxVcpuCount (${maxVcpuCount}) is less than vcpuCount (${vcpuCount}).`);
    if (maxVcpuCount > vcpuCount && machineType !== "q35") throw new UnsupportedError('CPUs can be added to a machineType "q35" only.');
    if (memSizeMib < 1) throw new Error(`memSizeMib must be at least 1, not ${memSizeMib}.`);
    for (const path of [kernelImagePath, this.options.initrdPath, ...disks.map((d) => d.path), from && pathOf(from)])
      if (path !== undefined && !existsSync(path)) throw new Error(`There is no file "${path}".`);
  }

  async #startVmm(): Promise<void> {
    const { binary = process.env.QEMU_BIN ?? QEMU, logPath = `${this.socketPath}.log` } = this.options;
    const vmm = await startVmm([binary, ...machineArgv(this.id, this.socketPath, this.options)], { socket: this.socketPath, log: logPath });
    this.vmm = vmm;
    // It opens its socket before it looks at the rest of what it was told.
    this.#qmp = await connectQmp(this.socketPath).catch(async (thrown) => {
      throw (await within(1_000, vmm.exited)) ? new Error(`${binary} ended at once: ${tail(logPath)}`) : thrown;
    });
  }
}

/** RunState, qemu/qapi/run-state.json. */
const STATUS: Record<string, RuntimeStatus> = {
  running: "running",
  paused: "paused",
  prelaunch: "starting",
  inmigrate: "starting",
  shutdown: "stopped",
};
const HOTPLUG_PORTS = 8;

/** What follows the program's name. It stands still until it is told to go. */
export function machineArgv(id: string, socket: string, o: MachineOptions): string[] {
  const { machineType = "microvm", accelerator = "tcg", vcpuCount = 1, maxVcpuCount = vcpuCount, memSizeMib = 128 } = o;
  const microvm = machineType === "microvm";
  const bus = microvm ? "device" : "pci";
  const value = (flag: string, given: string | undefined): string[] => (given === undefined ? [] : [flag, given]);
  return [
    ...["-nodefaults", "-no-user-config", "-S", "-display", "none", "-name", id],
    ...["-M", microvm ? "microvm,acpi=on,rtc=on,pic=off,pit=off,pcie=off,isa-serial=on" : "q35"],
    ...["-accel", accelerator, "-cpu", accelerator === "kvm" ? "host" : "max"],
    ...["-smp", `${vcpuCount},maxcpus=${maxVcpuCount}`, "-m", `${memSizeMib}M`],
    ...value("-kernel", o.kernelImagePath),
    ...value("-initrd", o.initrdPath),
    ...value("-append", o.kernelArgs),
    ...[
      "-chardev",
      o.serialPath === undefined ? "null,id=serial" : `file,id=serial,path=${escape(o.serialPath)}`,
      "-serial",
      "chardev:serial",
    ],
    ...(microvm
      ? []
      : Array.from({ length: HOTPLUG_PORTS }, (_, i) => ["-device", `pcie-root-port,id=hotplug${i},chassis=${i + 1}`]).flat()),
    ...["-device", `virtio-serial-${bus},max_ports=4`],
    ...(o.guestSocket === undefined
      ? []
      : [
          "-chardev",
          `socket,id=guest,path=${escape(o.guestSocket)},server=on,wait=off`,
          "-device",
          `virtserialport,nr=1,chardev=guest,name=${GUEST_PORT}`,
        ]),
    ...(o.disks ?? []).flatMap(({ path, id: disk, readonly = false, format = "raw" }, i) => [
      "-blockdev",
      `driver=${format},node-name=node${i},read-only=${readonly ? "on" : "off"},file.driver=file,file.filename=${escape(path)}`,
      "-device",
      `virtio-blk-${bus},drive=node${i}${disk === undefined ? "" : `,id=${disk}`}`,
    ]),
    ...(o.net ?? []).flatMap(({ tap, mac }, i) => [
      "-netdev",
      `tap,id=net${i},ifname=${tap},script=no,downscript=no`,
      "-device",
      `virtio-net-${bus},netdev=net${i}${mac === undefined ? "" : `,mac=${mac}`}`,
    ]),
    ...(o.from === undefined ? [] : ["-incoming", "defer"]),
    ...["-qmp", `unix:${escape(socket)},server=on,wait=off`],
  ];
}

function pathOf(url: string): string {
  if (!url.startsWith("file:///")) throw new Error(`"${url}" must be a file like file:///var/lib/machine.state.`);
  return url.slice("file://".length);
}
