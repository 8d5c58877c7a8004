/**
 * Cloud Hypervisor's API, as its OpenAPI document says (vmm/src/api/openapi/cloud-hypervisor.yaml, 0.3.0, of v52): what its
 * requests and answers are made of, under its own names, and every endpoint. Sizes are bytes. Data only.
 */
import { z } from "zod";
import { json } from "../endpoints.ts";

export const BalloonConfig = z.strictObject({
  size: z.int(),
  deflate_on_oom: z.boolean().optional(),
  free_page_reporting: z.boolean().optional(),
});
export const ConsoleMode = z.enum(["Off", "Pty", "Tty", "File", "Socket", "Null"]);
export const ConsoleConfig = z.strictObject({
  file: z.string().optional(),
  socket: z.string().optional(),
  mode: ConsoleMode,
  iommu: z.boolean().optional(),
  id: z.string().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
});
export const CpuAffinity = z.strictObject({ vcpu: z.int(), host_cpus: z.array(z.int()) });
export const CpuFeatures = z.strictObject({ amx: z.boolean().optional() });
export const CpuTopology = z.strictObject({
  threads_per_core: z.int().optional(),
  cores_per_die: z.int().optional(),
  dies_per_package: z.int().optional(),
  packages: z.int().optional(),
});
export const CoreSchedulingMode = z.enum(["Vm", "Vcpu", "Off"]);
export const CpusConfig = z.strictObject({
  boot_vcpus: z.int(),
  max_vcpus: z.int(),
  topology: CpuTopology.optional(),
  kvm_hyperv: z.boolean().optional(),
  max_phys_bits: z.int().optional(),
  nested: z.boolean().optional(),
  affinity: z.array(CpuAffinity).optional(),
  features: CpuFeatures.optional(),
  core_scheduling: CoreSchedulingMode.optional(),
});
export const DebugConsoleConfig = z.strictObject({ file: z.string().optional(), mode: ConsoleMode, iobase: z.int().optional() });
export const DeviceConfig = z.strictObject({
  path: z.string(),
  iommu: z.boolean().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
  x_nv_gpudirect_clique: z.int().optional(),
  x_exclude_mmap_bars: z.array(z.int()).optional(),
});
export const DeviceNode = z.strictObject({
  id: z.string().optional(),
  resources: z.array(z.unknown()).optional(),
  children: z.array(z.string()).optional(),
  pci_bdf: z.string().optional(),
});
export const ImageType = z.enum(["FixedVhd", "Qcow2", "Raw", "Vhdx", "Unknown"]);
export const LockGranularity = z.enum(["ByteRange", "Full"]);
export const TokenBucket = z.strictObject({ size: z.int(), one_time_burst: z.int().optional(), refill_time: z.int() });
export const RateLimiterConfig = z.strictObject({ bandwidth: TokenBucket.optional(), ops: TokenBucket.optional() });
export const VirtQueueAffinity = z.strictObject({ queue_index: z.int(), host_cpus: z.array(z.int()) });
export const DiskConfig = z.strictObject({
  path: z.string().optional(),
  readonly: z.boolean().optional(),
  direct: z.boolean().optional(),
  iommu: z.boolean().optional(),
  num_queues: z.int().optional(),
  queue_size: z.int().optional(),
  vhost_user: z.boolean().optional(),
  vhost_socket: z.string().optional(),
  rate_limiter_config: RateLimiterConfig.optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
  serial: z.string().optional(),
  rate_limit_group: z.string().optional(),
  queue_affinity: z.array(VirtQueueAffinity).optional(),
  backing_files: z.boolean().optional(),
  sparse: z.boolean().optional(),
  image_type: ImageType.optional(),
  lock_granularity: LockGranularity.optional(),
});
export const FsConfig = z.strictObject({
  tag: z.string(),
  socket: z.string(),
  num_queues: z.int(),
  queue_size: z.int(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
});
export const GenericVhostUserConfig = z.strictObject({
  socket: z.string(),
  queue_size: z.array(z.int()).optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  virtio_id: z.int(),
});
export const LandlockConfig = z.strictObject({ path: z.string(), access: z.string() });
export const MemoryZoneConfig = z.strictObject({
  id: z.string(),
  size: z.int(),
  file: z.string().optional(),
  mergeable: z.boolean().optional(),
  shared: z.boolean().optional(),
  hugepages: z.boolean().optional(),
  hugepage_size: z.int().optional(),
  host_numa_node: z.int().optional(),
  hotplug_size: z.int().optional(),
  hotplugged_size: z.int().optional(),
  prefault: z.boolean().optional(),
});
export const MemoryConfig = z.strictObject({
  size: z.int(),
  hotplug_size: z.int().optional(),
  hotplugged_size: z.int().optional(),
  mergeable: z.boolean().optional(),
  hotplug_method: z.string().optional(),
  shared: z.boolean().optional(),
  hugepages: z.boolean().optional(),
  hugepage_size: z.int().optional(),
  prefault: z.boolean().optional(),
  thp: z.boolean().optional(),
  zones: z.array(MemoryZoneConfig).optional(),
});
export const NetConfig = z.strictObject({
  tap: z.string().optional(),
  ip: z.string().optional(),
  mask: z.string().optional(),
  mac: z.string().optional(),
  host_mac: z.string().optional(),
  mtu: z.int().optional(),
  iommu: z.boolean().optional(),
  num_queues: z.int().optional(),
  queue_size: z.int().optional(),
  vhost_user: z.boolean().optional(),
  vhost_socket: z.string().optional(),
  vhost_mode: z.string().optional(),
  id: z.string().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  rate_limiter_config: RateLimiterConfig.optional(),
  offload_tso: z.boolean().optional(),
  offload_ufo: z.boolean().optional(),
  offload_csum: z.boolean().optional(),
});
export const NumaDistance = z.strictObject({ destination: z.int(), distance: z.int() });
export const NumaConfig = z.strictObject({
  guest_numa_id: z.int(),
  cpus: z.array(z.int()).optional(),
  distances: z.array(NumaDistance).optional(),
  memory_zones: z.array(z.string()).optional(),
  pci_segments: z.array(z.int()).optional(),
  device_id: z.string().optional(),
});
export const PayloadConfig = z.strictObject({
  firmware: z.string().optional(),
  kernel: z.string().optional(),
  cmdline: z.string().optional(),
  initramfs: z.string().optional(),
  igvm: z.string().optional(),
  host_data: z.string().optional(),
});
export const PciDeviceInfo = z.strictObject({ id: z.string(), bdf: z.string() });
export const PciSegmentConfig = z.strictObject({
  pci_segment: z.int(),
  mmio32_aperture_weight: z.int().optional(),
  mmio64_aperture_weight: z.int().optional(),
});
export const PlatformConfig = z.strictObject({
  num_pci_segments: z.int().optional(),
  iommu_segments: z.array(z.int()).optional(),
  iommu_address_width_bits: z.int().optional(),
  serial_number: z.string().optional(),
  uuid: z.string().optional(),
  oem_strings: z.array(z.string()).optional(),
  tdx: z.boolean().optional(),
  sev_snp: z.boolean().optional(),
  iommufd: z.boolean().optional(),
  vfio_p2p_dma: z.boolean().optional(),
});
export const PmemConfig = z.strictObject({
  file: z.string(),
  size: z.int().optional(),
  iommu: z.boolean().optional(),
  discard_writes: z.boolean().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
});
export const RateLimitGroupConfig = z.strictObject({ id: z.string(), rate_limiter_config: RateLimiterConfig });
export const ReceiveMigrationData = z.strictObject({ receiver_url: z.string() });
export const MemoryRestoreMode = z.enum(["Copy", "OnDemand"]);
export const RestoreConfig = z.strictObject({
  source_url: z.string(),
  prefault: z.boolean().optional(),
  memory_restore_mode: MemoryRestoreMode.optional(),
  resume: z.boolean().optional(),
});
export const RngConfig = z.strictObject({
  id: z.string().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  iommu: z.boolean().optional(),
  src: z.string(),
});
export const TimeoutStrategy = z.enum(["Cancel", "Ignore"]);
export const SendMigrationData = z.strictObject({
  destination_url: z.string(),
  local: z.boolean().optional(),
  downtime_ms: z.int().optional(),
  timeout_s: z.int().optional(),
  timeout_strategy: TimeoutStrategy.optional(),
  connections: z.int().optional(),
});
export const SerialConfig = z.strictObject({ file: z.string().optional(), socket: z.string().optional(), mode: ConsoleMode });
export const TpmConfig = z.strictObject({ socket: z.string() });
export const UserDeviceConfig = z.strictObject({
  socket: z.string(),
  id: z.string().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
});
export const VdpaConfig = z.strictObject({
  path: z.string(),
  num_queues: z.int(),
  iommu: z.boolean().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
});
export const VmAddUserDevice = z.strictObject({ socket: z.string(), pci_segment: z.int().optional(), pci_device_id: z.int().optional() });
export const VsockConfig = z.strictObject({
  cid: z.int(),
  socket: z.string(),
  iommu: z.boolean().optional(),
  pci_segment: z.int().optional(),
  pci_device_id: z.int().optional(),
  id: z.string().optional(),
});
export const VmConfig = z.strictObject({
  cpus: CpusConfig.optional(),
  memory: MemoryConfig.optional(),
  payload: PayloadConfig,
  rate_limit_groups: z.array(RateLimitGroupConfig).optional(),
  disks: z.array(DiskConfig).optional(),
  net: z.array(NetConfig).optional(),
  rng: RngConfig.optional(),
  balloon: BalloonConfig.optional(),
  fs: z.array(FsConfig).optional(),
  "generic-vhost-user": z.array(GenericVhostUserConfig).optional(),
  pmem: z.array(PmemConfig).optional(),
  serial: SerialConfig.optional(),
  console: ConsoleConfig.optional(),
  debug_console: DebugConsoleConfig.optional(),
  devices: z.array(DeviceConfig).optional(),
  user_devices: z.array(UserDeviceConfig).optional(),
  vdpa: z.array(VdpaConfig).optional(),
  vsock: VsockConfig.optional(),
  numa: z.array(NumaConfig).optional(),
  iommu: z.boolean().optional(),
  watchdog: z.boolean().optional(),
  pvpanic: z.boolean().optional(),
  pci_segments: z.array(PciSegmentConfig).optional(),
  platform: PlatformConfig.optional(),
  tpm: TpmConfig.optional(),
  landlock_enable: z.boolean().optional(),
  landlock_rules: z.array(LandlockConfig).optional(),
});
export const VmCoredumpData = z.strictObject({ destination_url: z.string().optional() });
export const VmState = z.enum(["Created", "Running", "Shutdown", "Paused"]);
/** config: a VmConfig; a newer version may answer with more than this one takes. */
export const VmInfo = z.looseObject({
  config: z.looseObject({
    cpus: CpusConfig.loose().optional(),
    memory: MemoryConfig.loose().optional(),
    disks: z.array(DiskConfig.loose()).optional(),
  }),
  state: VmState,
  memory_actual_size: z.int().optional(),
  device_tree: z.record(z.string(), DeviceNode.loose()).optional(),
});
export const VmRemoveDevice = z.strictObject({ id: z.string().optional() });
export const VmResize = z.strictObject({
  desired_vcpus: z.int().optional(),
  desired_ram: z.int().optional(),
  desired_balloon: z.int().optional(),
});
export const VmResizeDisk = z.strictObject({ id: z.string().optional(), desired_size: z.int().optional() });
export const VmResizeZone = z.strictObject({ id: z.string().optional(), desired_ram: z.int().optional() });
export const VmSnapshotConfig = z.strictObject({ destination_url: z.string().optional() });
export const VmmPingResponse = z.strictObject({
  build_version: z.string().optional(),
  version: z.string(),
  pid: z.int().optional(),
  features: z.array(z.string()).optional(),
});

/** Answers 204 where nothing is answered. PciDeviceInfo: where the guest finds the new device; 204 while it has not booted. */
const added = PciDeviceInfo.optional();
const base = "/api/v1";

/** By operationId. */
export const ENDPOINTS = {
  getVmmPing: json("GET", `${base}/vmm.ping`, null, VmmPingResponse),
  shutdownVmm: json("PUT", `${base}/vmm.shutdown`),
  nmiVmm: json("PUT", `${base}/vmm.nmi`),
  getVmInfo: json("GET", `${base}/vm.info`, null, VmInfo),
  getVmCounters: json("GET", `${base}/vm.counters`, null, z.record(z.string(), z.record(z.string(), z.number()))),
  createVm: json("PUT", `${base}/vm.create`, VmConfig),
  deleteVm: json("PUT", `${base}/vm.delete`),
  bootVm: json("PUT", `${base}/vm.boot`),
  pauseVm: json("PUT", `${base}/vm.pause`),
  resumeVm: json("PUT", `${base}/vm.resume`),
  shutdownVm: json("PUT", `${base}/vm.shutdown`),
  rebootVm: json("PUT", `${base}/vm.reboot`),
  powerButtonVm: json("PUT", `${base}/vm.power-button`),
  resizeVm: json("PUT", `${base}/vm.resize`, VmResize),
  resizeVmDisk: json("PUT", `${base}/vm.resize-disk`, VmResizeDisk),
  resizeVmZone: json("PUT", `${base}/vm.resize-zone`, VmResizeZone),
  addVmDevice: json("PUT", `${base}/vm.add-device`, DeviceConfig, added),
  addVmUserDevice: json("PUT", `${base}/vm.add-user-device`, VmAddUserDevice, added),
  addVmDisk: json("PUT", `${base}/vm.add-disk`, DiskConfig, added),
  addVmFs: json("PUT", `${base}/vm.add-fs`, FsConfig, added),
  addVmGenericVhostUser: json("PUT", `${base}/vm.add-generic-vhost-user`, GenericVhostUserConfig, added),
  addVmPmem: json("PUT", `${base}/vm.add-pmem`, PmemConfig, added),
  addVmNet: json("PUT", `${base}/vm.add-net`, NetConfig, added),
  addVmVdpa: json("PUT", `${base}/vm.add-vdpa`, VdpaConfig, added),
  addVmVsock: json("PUT", `${base}/vm.add-vsock`, VsockConfig, added),
  removeVmDevice: json("PUT", `${base}/vm.remove-device`, VmRemoveDevice),
  snapshotVm: json("PUT", `${base}/vm.snapshot`, VmSnapshotConfig),
  restoreVm: json("PUT", `${base}/vm.restore`, RestoreConfig),
  coredumpVm: json("PUT", `${base}/vm.coredump`, VmCoredumpData),
  receiveMigration: json("PUT", `${base}/vm.receive-migration`, ReceiveMigrationData),
  sendMigration: json("PUT", `${base}/vm.send-migration`, SendMigrationData),
};
