/** A Cloud Hypervisor machine, on its own: `new Machine({...})`, then start, add and resize while it runs, snapshot, shutdown. */
import type { z } from "zod";
import { createClient, type Client } from "../endpoints.ts";
import { execIn, VSOCK_PORT } from "../guest.ts";
import { EXEC_MS, VmmMachine } from "../machine.ts";
import { UnsupportedError, type ExecResult, type RuntimeInfo, type RuntimeStatus } from "../runtime.ts";
import { startVmm } from "../vmm.ts";
import {
  ENDPOINTS,
  type DeviceConfig,
  type DiskConfig,
  type FsConfig,
  type NetConfig,
  type PciDeviceInfo,
  type PmemConfig,
  type RestoreConfig,
  type SendMigrationData,
  type VmAddUserDevice,
  type VdpaConfig,
  type VmConfig,
  type VmResize,
  type VmResizeDisk,
  type VmResizeZone,
  type VsockConfig,
} from "./schema.ts";

type In<S extends z.ZodType> = z.input<S>;
type Added = z.output<typeof PciDeviceInfo> | undefined;

/**
 * The fields of VmConfig, and: socketPath: where its API is served. binary: CLOUD_HYPERVISOR_BIN, or "cloud-hypervisor". from: a
 * snapshot to go on from, whose configuration it then has; it stands still until it is resumed. waitFor: a socket's URL
 * ("unix:/path"), at which another machine's migration is taken.
 */
export type MachineOptions = Partial<In<typeof VmConfig>> & {
  id?: string;
  socketPath?: string;
  binary?: string;
  logPath?: string;
  from?: In<typeof RestoreConfig>;
  waitFor?: string;
};

const MIGRATION_MS = 3_600_000;

export class Machine extends VmmMachine {
  readonly type = "cloud-hypervisor";
  readonly options: MachineOptions;
  /** Every endpoint of the API. */
  readonly api: Client<typeof ENDPOINTS>;
  constructor(options: MachineOptions) {
    const { id = `ch-${crypto.randomUUID().slice(0, 8)}`, socketPath = `/tmp/${id}.sock` } = options;
    super(id, socketPath);
    this.options = options;
    this.api = createClient(this.socketPath, ENDPOINTS);
    this.handlers.validation
      .append("ConfigValidation", (m) => m.#validate())
      .append("NetworkConfigValidation", (m) => m.#validateNetwork())
      .append("DiskConfigValidation", (m) => m.#validateDisks());
    this.handlers.init.append("StartVMM", (m) => m.#startVmm());
    if (options.from) this.handlers.init.append("RestoreVm", (m) => m.api.restoreVm(m.options.from!));
    else if (options.waitFor !== undefined) this.handlers.init.append("ReceiveMigration", (m) => m.#receive());
    else this.handlers.init.append("CreateVm", (m) => m.api.createVm(m.#config())).append("BootVm", (m) => m.api.bootVm());
  }

  /** The power button: vm.shutdown would not ask the guest, and would leave the process. */
  protected askToEnd(): Promise<void> {
    return this.api.powerButtonVm();
  }

  async pause(): Promise<void> {
    await this.api.pauseVm();
  }

  async resume(): Promise<void> {
    await this.api.resumeVm();
  }

  async reboot(): Promise<void> {
    await this.api.rebootVm();
  }

  async getInfo(): Promise<RuntimeInfo> {
    const { cpus, memory } = this.options;
    const asked = this.atRest(cpus?.boot_vcpus ?? 1, (memory?.size ?? 512 * 2 ** 20) / 2 ** 20);
    if (!this.isRunning()) return asked;
    const [info, { version }] = await Promise.all([this.api.getVmInfo(), this.api.getVmmPing()]);
    const status: Record<typeof info.state, RuntimeStatus> = {
      Created: "starting",
      Running: "running",
      Paused: "paused",
      Shutdown: "stopped",
    };
    const bytes = info.memory_actual_size ?? info.config.memory?.size;
    return {
      ...asked,
      cpus: info.config.cpus?.boot_vcpus ?? asked.cpus,
      memoryMib: bytes === undefined ? asked.memoryMib : bytes / 2 ** 20,
      status: status[info.state],
      version,
    };
  }

  /** Through our init in it, which listens at a vsock. */
  async exec(cmd: readonly string[], timeoutMs = EXEC_MS): Promise<ExecResult> {
    const { vsock } = this.options;
    if (!vsock) throw new UnsupportedError("To run commands in it, a Cloud Hypervisor machine needs a vsock, and our init in its image.");
    return await execIn({ path: vsock.socket, port: VSOCK_PORT }, cmd, timeoutMs);
  }

  // While it runs. The answer says where on its bus the guest finds the device.
  addDisk(disk: In<typeof DiskConfig>): Promise<Added> {
    return this.api.addVmDisk(disk);
  }
  addNet(net: In<typeof NetConfig>): Promise<Added> {
    return this.api.addVmNet(net);
  }
  addFs(fs: In<typeof FsConfig>): Promise<Added> {
    return this.api.addVmFs(fs);
  }
  addPmem(pmem: In<typeof PmemConfig>): Promise<Added> {
    return this.api.addVmPmem(pmem);
  }
  addDevice(device: In<typeof DeviceConfig>): Promise<Added> {
    return this.api.addVmDevice(device);
  }
  addUserDevice(device: In<typeof VmAddUserDevice>): Promise<Added> {
    return this.api.addVmUserDevice(device);
  }
  addVdpa(vdpa: In<typeof VdpaConfig>): Promise<Added> {
    return this.api.addVmVdpa(vdpa);
  }
  addVsock(vsock: In<typeof VsockConfig>): Promise<Added> {
    return this.api.addVmVsock(vsock);
  }
  removeDevice(id: string): Promise<void> {
    return this.api.removeVmDevice({ id });
  }

  /** CPUs as far as max_vcpus, RAM as far as hotplug_size allow. */
  resize(to: In<typeof VmResize>): Promise<void> {
    return this.api.resizeVm(to);
  }
  resizeDisk(to: In<typeof VmResizeDisk>): Promise<void> {
    return this.api.resizeVmDisk(to);
  }
  resizeZone(to: In<typeof VmResizeZone>): Promise<void> {
    return this.api.resizeVmZone(to);
  }
  counters(): Promise<Record<string, Record<string, number>>> {
    return this.api.getVmCounters();
  }
  /** url: file:// a file that is to hold the guest's RAM and registers. */
  coredump(url: string): Promise<void> {
    return this.api.coredumpVm({ destination_url: url });
  }

  /** url: file:// a folder that is there. The machine stands still meanwhile. */
  async createSnapshot(url: string): Promise<void> {
    const { state } = await this.api.getVmInfo();
    if (state === "Running") await this.pause();
    try {
      await this.api.snapshotVm({ destination_url: url });
    } finally {
      if (state === "Running") await this.resume();
    }
  }

  /** To a machine that waits for it (waitFor); this one ends with it. */
  async sendMigration(to: In<typeof SendMigrationData>): Promise<void> {
    await createClient(this.socketPath, ENDPOINTS, MIGRATION_MS).sendMigration(to);
  }

  /** Once it listens, without waiting for what comes: the answer is given when it has. */
  async #receive(): Promise<void> {
    const { waitFor } = this.options;
    const received = createClient(this.socketPath, ENDPOINTS, MIGRATION_MS).receiveMigration({ receiver_url: waitFor! });
    received.catch(() => void this.stop());
  }

  #config(): In<typeof VmConfig> {
    const { id: _, socketPath: _s, binary: _b, logPath: _l, from: _f, waitFor: _w, payload, ...config } = this.options;
    return { payload: payload!, ...config };
  }

  #validate(): void {
    const { payload, from, waitFor, cpus } = this.options;
    if (!from && waitFor === undefined && !payload?.kernel && !payload?.firmware && !payload?.igvm)
      throw new Error("Something to boot must be named: payload.kernel or payload.firmware.");
    if (cpus && cpus.max_vcpus < cpus.boot_vcpus)
      throw new Error(`max_vcpus (${cpus.max_vcpus}) is less than boot_vcpus (${cpus.boot_vcpus}).`);
  }

  #validateNetwork(): void {
    const bad = this.options.net?.find((n) => n.mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(n.mac));
    if (bad) throw new Error(`"${bad.mac}" is no MAC address.`);
  }

  #validateDisks(): void {
    const disks = this.options.disks ?? [];
    if (disks.some((d) => !d.path && !d.vhost_socket)) throw new Error("Each disk needs a path, or the socket of a vhost-user backend.");
    const ids = disks.flatMap((d) => d.id ?? []);
    const twice = ids.find((id, i) => ids.indexOf(id) !== i);
    if (twice !== undefined) throw new Error(`Two disks are called "${twice}".`);
  }

  async #startVmm(): Promise<void> {
    const binary = this.options.binary ?? process.env.CLOUD_HYPERVISOR_BIN ?? "cloud-hypervisor";
    const log = this.options.logPath ?? `${this.socketPath}.log`;
    this.vmm = await startVmm([binary, "--api-socket", `path=${this.socketPath}`], { socket: this.socketPath, log });
  }
}
