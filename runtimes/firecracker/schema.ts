/**
 * Firecracker's API, as its OpenAPI document says (src/firecracker/swagger/firecracker.yaml, v1.14): what its requests and
 * answers are made of, under its own names, and every endpoint. Sizes are MiB where a name says so. Data only.
 */
import { z } from "zod";
import { json } from "../endpoints.ts";

export const TokenBucket = z.strictObject({
  size: z.int().min(0),
  one_time_burst: z.int().min(0).optional(),
  /** Milliseconds. */
  refill_time: z.int().min(0),
});
export const RateLimiter = z.strictObject({ bandwidth: TokenBucket.optional(), ops: TokenBucket.optional() });

export const BootSource = z.strictObject({
  kernel_image_path: z.string(),
  boot_args: z.string().optional(),
  initrd_path: z.string().optional(),
});

export const Drive = z.strictObject({
  drive_id: z.string(),
  is_root_device: z.boolean(),
  partuuid: z.string().optional(),
  cache_type: z.enum(["Unsafe", "Writeback"]).optional(),
  is_read_only: z.boolean().optional(),
  path_on_host: z.string().optional(),
  rate_limiter: RateLimiter.optional(),
  io_engine: z.enum(["Sync", "Async"]).optional(),
  /** Of a vhost-user-block backend, instead of path_on_host. */
  socket: z.string().optional(),
});
export const PartialDrive = z.strictObject({
  drive_id: z.string(),
  path_on_host: z.string().optional(),
  rate_limiter: RateLimiter.optional(),
});

export const Pmem = z.strictObject({
  id: z.string(),
  path_on_host: z.string(),
  root_device: z.boolean().optional(),
  read_only: z.boolean().optional(),
  rate_limiter: RateLimiter.optional(),
});
export const PartialPmem = z.strictObject({ id: z.string(), rate_limiter: RateLimiter.optional() });

export const NetworkInterface = z.strictObject({
  iface_id: z.string(),
  host_dev_name: z.string(),
  guest_mac: z.string().optional(),
  mtu: z.int().optional(),
  rx_rate_limiter: RateLimiter.optional(),
  tx_rate_limiter: RateLimiter.optional(),
});
export const PartialNetworkInterface = z.strictObject({
  iface_id: z.string(),
  rx_rate_limiter: RateLimiter.optional(),
  tx_rate_limiter: RateLimiter.optional(),
});

export const CpuTemplate = z.enum(["C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None"]);
const HugePages = z.enum(["None", "2M"]);
export const MachineConfiguration = z.strictObject({
  vcpu_count: z.int().min(1).max(32),
  mem_size_mib: z.int().min(1),
  smt: z.boolean().optional(),
  track_dirty_pages: z.boolean().optional(),
  cpu_template: CpuTemplate.optional(),
  huge_pages: HugePages.optional(),
});

const Bitmap = z.string().regex(/^0b[01x_]+$/, "must be a bitmap like 0bx00100");
export const CpuConfig = z.strictObject({
  kvm_capabilities: z.array(z.string()).optional(),
  cpuid_modifiers: z
    .array(
      z.strictObject({
        leaf: z.string(),
        subleaf: z.string(),
        flags: z.int(),
        modifiers: z.array(z.strictObject({ register: z.enum(["eax", "ebx", "ecx", "edx"]), bitmap: Bitmap })),
      }),
    )
    .optional(),
  msr_modifiers: z.array(z.strictObject({ addr: z.string(), bitmap: Bitmap })).optional(),
  reg_modifiers: z.array(z.strictObject({ addr: z.string(), bitmap: Bitmap })).optional(),
  vcpu_features: z.array(z.strictObject({ index: z.int(), bitmap: Bitmap })).optional(),
});

export const Balloon = z.strictObject({
  amount_mib: z.int().min(0),
  deflate_on_oom: z.boolean(),
  stats_polling_interval_s: z.int().min(0).optional(),
  free_page_hinting: z.boolean().optional(),
  free_page_reporting: z.boolean().optional(),
});
export const BalloonUpdate = z.strictObject({ amount_mib: z.int().min(0) });
export const BalloonStatsUpdate = z.strictObject({ stats_polling_interval_s: z.int().min(0) });
/** What the guest counts depends on its kernel. */
export const BalloonStats = z.looseObject({ target_pages: z.int(), actual_pages: z.int(), target_mib: z.int(), actual_mib: z.int() });
export const BalloonStartCmd = z.strictObject({ acknowledge_on_stop: z.boolean().optional() });
export const BalloonHintingStatus = z.looseObject({ host_cmd: z.int(), guest_cmd: z.int().nullable().optional() });

export const MemoryHotplugConfig = z.strictObject({
  total_size_mib: z.int().min(1),
  slot_size_mib: z.int().min(128).optional(),
  block_size_mib: z.int().min(2).optional(),
});
export const MemoryHotplugSizeUpdate = z.strictObject({ requested_size_mib: z.int().min(0) });
export const MemoryHotplugStatus = z.looseObject({ total_size_mib: z.int(), plugged_size_mib: z.int(), requested_size_mib: z.int() });

export const Vsock = z.strictObject({ guest_cid: z.int().min(3), uds_path: z.string(), vsock_id: z.string().optional() });
export const EntropyDevice = z.strictObject({ rate_limiter: RateLimiter.optional() });
export const SerialDevice = z.strictObject({ serial_out_path: z.string().optional() });
export const Logger = z.strictObject({
  log_path: z.string().optional(),
  level: z.enum(["Error", "Warning", "Info", "Debug", "Trace", "Off"]).optional(),
  show_level: z.boolean().optional(),
  show_log_origin: z.boolean().optional(),
  module: z.string().optional(),
});
export const Metrics = z.strictObject({ metrics_path: z.string() });

export const MmdsConfig = z.strictObject({
  network_interfaces: z.array(z.string()),
  version: z.enum(["V1", "V2"]).optional(),
  ipv4_address: z.string().optional(),
  imds_compat: z.boolean().optional(),
});
export const MmdsContents = z.record(z.string(), z.unknown());

export const SnapshotCreateParams = z.strictObject({
  snapshot_path: z.string(),
  mem_file_path: z.string(),
  snapshot_type: z.enum(["Full", "Diff"]).optional(),
});
export const MemoryBackend = z.strictObject({ backend_type: z.enum(["File", "Uffd"]), backend_path: z.string() });
export const SnapshotLoadParams = z.strictObject({
  snapshot_path: z.string(),
  mem_backend: MemoryBackend.optional(),
  /** Before mem_backend; one of the two. */
  mem_file_path: z.string().optional(),
  enable_diff_snapshots: z.boolean().optional(),
  track_dirty_pages: z.boolean().optional(),
  resume_vm: z.boolean().optional(),
  network_overrides: z.array(z.strictObject({ iface_id: z.string(), host_dev_name: z.string() })).optional(),
  vsock_override: z.strictObject({ uds_path: z.string() }).optional(),
});

export const InstanceActionInfo = z.strictObject({ action_type: z.enum(["FlushMetrics", "InstanceStart", "SendCtrlAltDel"]) });
export const Vm = z.strictObject({ state: z.enum(["Paused", "Resumed"]) });
export const InstanceInfo = z.looseObject({
  app_name: z.string(),
  id: z.string(),
  state: z.enum(["Not started", "Running", "Paused"]),
  vmm_version: z.string(),
});
export const FirecrackerVersion = z.looseObject({ firecracker_version: z.string() });
export const FullVmConfiguration = z.looseObject({ drives: z.array(Drive.loose()).optional(), "boot-source": z.unknown().optional() });

/** By operationId. */
export const ENDPOINTS = {
  describeInstance: json("GET", "/", null, InstanceInfo),
  createSyncAction: json("PUT", "/actions", InstanceActionInfo),
  describeBalloonConfig: json("GET", "/balloon", null, Balloon.loose()),
  putBalloon: json("PUT", "/balloon", Balloon),
  patchBalloon: json("PATCH", "/balloon", BalloonUpdate),
  describeBalloonStats: json("GET", "/balloon/statistics", null, BalloonStats),
  patchBalloonStatsInterval: json("PATCH", "/balloon/statistics", BalloonStatsUpdate),
  startBalloonHinting: json("PATCH", "/balloon/hinting/start", BalloonStartCmd),
  describeBalloonHinting: json("GET", "/balloon/hinting/status", null, BalloonHintingStatus),
  stopBalloonHinting: json("PATCH", "/balloon/hinting/stop"),
  putGuestBootSource: json("PUT", "/boot-source", BootSource),
  putCpuConfiguration: json("PUT", "/cpu-config", CpuConfig),
  putGuestDriveByID: json("PUT", "/drives/{drive_id}", Drive),
  patchGuestDriveByID: json("PATCH", "/drives/{drive_id}", PartialDrive),
  putGuestPmemByID: json("PUT", "/pmem/{id}", Pmem),
  patchGuestPmemByID: json("PATCH", "/pmem/{id}", PartialPmem),
  putLogger: json("PUT", "/logger", Logger),
  getMachineConfiguration: json("GET", "/machine-config", null, MachineConfiguration.loose()),
  putMachineConfiguration: json("PUT", "/machine-config", MachineConfiguration),
  patchMachineConfiguration: json("PATCH", "/machine-config", MachineConfiguration.partial()),
  putMetrics: json("PUT", "/metrics", Metrics),
  putMmds: json("PUT", "/mmds", MmdsContents),
  patchMmds: json("PATCH", "/mmds", MmdsContents),
  getMmds: json("GET", "/mmds", null, MmdsContents),
  putMmdsConfig: json("PUT", "/mmds/config", MmdsConfig),
  putEntropyDevice: json("PUT", "/entropy", EntropyDevice),
  putSerialDevice: json("PUT", "/serial", SerialDevice),
  putGuestNetworkInterfaceByID: json("PUT", "/network-interfaces/{iface_id}", NetworkInterface),
  patchGuestNetworkInterfaceByID: json("PATCH", "/network-interfaces/{iface_id}", PartialNetworkInterface),
  createSnapshot: json("PUT", "/snapshot/create", SnapshotCreateParams),
  loadSnapshot: json("PUT", "/snapshot/load", SnapshotLoadParams),
  getFirecrackerVersion: json("GET", "/version", null, FirecrackerVersion),
  patchVm: json("PATCH", "/vm", Vm),
  getExportVmConfig: json("GET", "/vm/config", null, FullVmConfiguration),
  putGuestVsock: json("PUT", "/vsock", Vsock),
  putMemoryHotplug: json("PUT", "/hotplug/memory", MemoryHotplugConfig),
  patchMemoryHotplug: json("PATCH", "/hotplug/memory", MemoryHotplugSizeUpdate),
  getMemoryHotplug: json("GET", "/hotplug/memory", null, MemoryHotplugStatus),
};
