/** A Firecracker microVM, on its own: `new Machine({...})`, then start, exec, snapshot, shutdown. */
import { chownSync, existsSync, linkSync, mkdirSync, rmSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { z } from "zod";
import { createClient, type Client } from "../endpoints.ts";
import { execIn, VSOCK_PORT } from "../guest.ts";
import { EXEC_MS, VmmMachine } from "../machine.ts";
import { UnsupportedError, type ExecResult, type RuntimeInfo, type RuntimeStatus } from "../runtime.ts";
import { startVmm } from "../vmm.ts";
import { firecrackerArgv, inJail, jailedSocket, jailerArgv, jailRoot, type DriveSpec, type Jail } from "./command.ts";
import {
  ENDPOINTS,
  type Balloon,
  type EntropyDevice,
  type Logger,
  type Metrics,
  type MmdsConfig,
  type NetworkInterface,
  type SnapshotLoadParams,
  type Vsock,
} from "./schema.ts";

export { DrivesBuilder } from "./command.ts";

/**
 * socketPath: where its API is served; in a jail that follows from the jail. binary: FIRECRACKER_BIN, or "firecracker". mmds: what
 * the guest finds at its metadata service. from: a snapshot to go on from, instead of a kernel.
 */
export type MachineOptions = {
  id?: string;
  socketPath?: string;
  binary?: string;
  logPath?: string;
  kernelImagePath?: string;
  kernelArgs?: string;
  initrdPath?: string;
  vcpuCount?: number;
  memSizeMib?: number;
  smt?: boolean;
  trackDirtyPages?: boolean;
  drives?: readonly DriveSpec[];
  networkInterfaces?: readonly z.input<typeof NetworkInterface>[];
  vsock?: z.input<typeof Vsock>;
  balloon?: z.input<typeof Balloon>;
  entropy?: z.input<typeof EntropyDevice>;
  logger?: z.input<typeof Logger>;
  metrics?: z.input<typeof Metrics>;
  mmds?: { config: z.input<typeof MmdsConfig>; data?: Record<string, unknown> };
  jail?: Jail;
  from?: z.input<typeof SnapshotLoadParams>;
};

export class Machine extends VmmMachine {
  readonly type = "firecracker";
  readonly options: MachineOptions;
  readonly binary: string;
  /** Every endpoint of the API. */
  readonly api: Client<typeof ENDPOINTS>;
  constructor(options: MachineOptions) {
    const { id = `fc-${crypto.randomUUID().slice(0, 8)}`, jail, socketPath = `/tmp/${id}.sock` } = options;
    const binary = options.binary ?? process.env.FIRECRACKER_BIN ?? "firecracker";
    super(id, jail ? jailedSocket(jail, binary, id) : socketPath);
    this.options = options;
    this.binary = binary;
    this.api = createClient(this.socketPath, ENDPOINTS);
    this.handlers.validation
      .append("ConfigValidation", (m) => m.#validate())
      .append("NetworkConfigValidation", (m) => m.#validateNetwork());
    this.handlers.init.append("StartVMM", (m) => m.#startVmm()).append("BootstrapLogging", (m) => m.#bootstrapLogging());
    if (options.from) this.handlers.init.append("LoadSnapshot", (m) => m.api.loadSnapshot({ resume_vm: true, ...m.options.from! }));
    else
      this.handlers.init
        .append("CreateMachine", (m) => m.#createMachine())
        .append("CreateBootSource", (m) => m.#createBootSource())
        .append("AttachDrives", (m) => m.#attachDrives())
        .append("CreateNetworkInterfaces", (m) => m.#createNetworkInterfaces())
        .append("AddVsock", async (m) => void (m.options.vsock && (await m.api.putGuestVsock(m.options.vsock))))
        .append("SetupBalloon", async (m) => void (m.options.balloon && (await m.api.putBalloon(m.options.balloon))))
        .append("AddEntropy", async (m) => void (m.options.entropy && (await m.api.putEntropyDevice(m.options.entropy))))
        .append("ConfigMmds", (m) => m.#configMmds())
        .append("StartInstance", (m) => m.api.createSyncAction({ action_type: "InstanceStart" }));
  }

  /** Ctrl-Alt-Del, which a guest takes for a shutdown; Firecracker ends with it. x86 only. */
  protected askToEnd(): Promise<void> {
    return this.api.createSyncAction({ action_type: "SendCtrlAltDel" });
  }

  protected override clear(): void {
    const { jail } = this.options;
    if (jail) rmSync(dirname(jailRoot(jail, this.binary, this.id)), { recursive: true, force: true });
    else super.clear();
  }

  async pause(): Promise<void> {
    await this.api.patchVm({ state: "Paused" });
  }

  async resume(): Promise<void> {
    await this.api.patchVm({ state: "Resumed" });
  }

  async getInfo(): Promise<RuntimeInfo> {
    const { vcpuCount = 1, memSizeMib = 128 } = this.options;
    const info = this.atRest(vcpuCount, memSizeMib);
    if (!this.isRunning()) return info;
    const { state, vmm_version } = await this.api.describeInstance();
    const status: Record<typeof state, RuntimeStatus> = { "Not started": "starting", Running: "running", Paused: "paused" };
    return { ...info, status: status[state], version: vmm_version };
  }

  /** Through our init in it, which listens at a vsock. */
  async exec(cmd: readonly string[], timeoutMs = EXEC_MS): Promise<ExecResult> {
    const { vsock, jail } = this.options;
    if (!vsock) throw new UnsupportedError("To run commands in it, a Firecracker machine needs a vsock, and our init in its image.");
    const path = jail ? `${jailRoot(jail, this.binary, this.id)}${vsock.uds_path}` : vsock.uds_path;
    return await execIn({ path, port: VSOCK_PORT }, cmd, timeoutMs);
  }

  /** Its devices and its RAM, into two files; the machine stands still meanwhile. diff: only what has changed since the last. */
  async createSnapshot(snapshotPath: string, memFilePath: string, { diff = false }: { diff?: boolean } = {}): Promise<void> {
    const { state } = await this.api.describeInstance();
    if (state === "Running") await this.pause();
    try {
      await this.api.createSnapshot({ snapshot_path: snapshotPath, mem_file_path: memFilePath, snapshot_type: diff ? "Diff" : "Full" });
    } finally {
      if (state === "Running") await this.resume();
    }
  }

  /** Another file behind a drive while it runs; the guest sees a disk of another size. */
  async updateDrive(driveId: string, pathOnHost: string): Promise<void> {
    await this.api.patchGuestDriveByID({ drive_id: driveId, path_on_host: pathOnHost }, { drive_id: driveId });
  }

  #validate(): void {
    const { kernelImagePath, from, vcpuCount = 1, memSizeMib = 128, drives = [] } = this.options;
    if (!from && !kernelImagePath) throw new Error("A kernel must be named: kernelImagePath.");
    if (vcpuCount < 1 || vcpuCount > 32) throw new Error(`vcpuCount must be 1 to 32, not ${vcpuCount}.`);
    if (memSizeMib < 1) throw new Error(`memSizeMib must be at least 1, not ${memSizeMib}.`);
    if (drives.filter((d) => d.is_root_device).length > 1) throw new Error("Only one drive can be the root device.");
    if (!/^[A-Za-z0-9-]{1,64}$/.test(this.id)) throw new Error(`"${this.id}" is no id: letters, digits and "-", at most 64.`);
  }

  #validateNetwork(): void {
    const ids = (this.options.networkInterfaces ?? []).map((n) => n.iface_id);
    const twice = ids.find((id, i) => ids.indexOf(id) !== i);
    if (twice !== undefined) throw new Error(`Two network interfaces are called "${twice}".`);
    const missing = this.options.mmds?.config.network_interfaces.find((id) => !ids.includes(id));
    if (missing !== undefined) throw new Error(`The metadata service names the interface "${missing}", which is not there.`);
  }

  async #startVmm(): Promise<void> {
    const { jail, logPath = `${this.socketPath}.log` } = this.options;
    const { binary, id, socketPath } = this;
    if (!jail) return void (this.vmm = await startVmm(firecrackerArgv({ binary, id, socketPath }), { socket: socketPath, log: logPath }));
    const root = jailRoot(jail, binary, id);
    if (existsSync(root)) throw new Error(`There is a cell of that id already: ${root}`);
    try {
      this.#fillJail(jail, root);
      this.vmm = await startVmm(jailerArgv(jail, { binary, id }), { socket: socketPath, log: this.options.logPath ?? `/tmp/${id}.log` });
    } catch (thrown) {
      this.clear();
      throw thrown;
    }
  }

  /** The jailer moves in; what the machine is made from must be there by then. */
  #fillJail(jail: Jail, root: string): void {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    chownSync(root, jail.uid, jail.gid);
    const { kernelImagePath, initrdPath, drives = [] } = this.options;
    for (const path of [kernelImagePath, initrdPath, ...drives.map((d) => d.path_on_host)]) {
      if (path === undefined) continue;
      linkSync(path, `${root}/${basename(path)}`);
      chownSync(`${root}/${basename(path)}`, jail.uid, jail.gid);
    }
  }

  #path(path: string): string {
    return this.options.jail ? inJail(path) : path;
  }

  async #bootstrapLogging(): Promise<void> {
    if (this.options.logger) await this.api.putLogger(this.options.logger);
    if (this.options.metrics) await this.api.putMetrics(this.options.metrics);
  }

  async #createMachine(): Promise<void> {
    const { vcpuCount = 1, memSizeMib = 128, smt, trackDirtyPages } = this.options;
    await this.api.putMachineConfiguration({
      ...{ vcpu_count: vcpuCount, mem_size_mib: memSizeMib },
      ...(smt !== undefined && { smt }),
      ...(trackDirtyPages !== undefined && { track_dirty_pages: trackDirtyPages }),
    });
  }

  async #createBootSource(): Promise<void> {
    const { kernelImagePath, kernelArgs, initrdPath } = this.options;
    await this.api.putGuestBootSource({
      kernel_image_path: this.#path(kernelImagePath!),
      ...(kernelArgs !== undefined && { boot_args: kernelArgs }),
      ...(initrdPath !== undefined && { initrd_path: this.#path(initrdPath) }),
    });
  }

  async #attachDrives(): Promise<void> {
    for (const d of this.options.drives ?? []) {
      const drive = d.path_on_host === undefined ? d : { ...d, path_on_host: this.#path(d.path_on_host) };
      await this.api.putGuestDriveByID(drive, { drive_id: d.drive_id });
    }
  }

  async #createNetworkInterfaces(): Promise<void> {
    for (const n of this.options.networkInterfaces ?? []) await this.api.putGuestNetworkInterfaceByID(n, { iface_id: n.iface_id });
  }

  async #configMmds(): Promise<void> {
    const { mmds } = this.options;
    if (mmds) await this.api.putMmdsConfig(mmds.config);
    if (mmds?.data) await this.api.putMmds(mmds.data);
  }
}
