/** What a container is made from, as the body of the Engine API's ContainerCreate. Pure. */

/** hostIp: undefined for every address of the host. */
export type Port = { hostPort: number; containerPort: number; protocol?: "tcp" | "udp"; hostIp?: string };
/** name: of an engine's volume, made where it is missing; driver: with what it is made. Else hostPath, a folder of the host. */
export type Mount = {
  containerPath: string;
  readOnly?: boolean;
  hostPath?: string;
  name?: string;
  driver?: Record<string, string>;
  /** A new volume does not begin with what the image has there. */
  noCopy?: boolean;
};

export type ContainerSpec = {
  image: string;
  cmd?: readonly string[];
  entrypoint?: readonly string[];
  env?: Record<string, string>;
  workingDir?: string;
  user?: string;
  hostname?: string;
  /** CPUs, in parts of one if need be. */
  cpus?: number;
  memoryMib?: number;
  /** Processes and threads at once. */
  pidsMax?: number;
  ports?: readonly Port[];
  volumes?: readonly Mount[];
  /** "no", "always", "unless-stopped", "on-failure" or "on-failure:N". */
  restart?: string;
  /** The engine's network; "none": nothing but a loopback of its own. */
  network?: string;
  dns?: readonly string[];
  dnsSearch?: readonly string[];
  /** NAME:ADDRESS. */
  extraHosts?: readonly string[];
  labels?: Record<string, string>;
  stopSignal?: string;
  stopTimeoutS?: number;
  /** Nothing of the image can be written to, but what is in memory. */
  readOnlyRoot?: boolean;
  /** Folders in memory, and how they are mounted; /tmp and /run, where the root cannot be written to. */
  tmpfs?: Record<string, string>;
  /** All that root of the host has: no limit below holds any more. */
  privileged?: boolean;
  capabilities?: readonly string[];
  /** GPUs of NVIDIA's runtime: all of them, or those named. */
  gpus?: "all" | readonly string[];
  tty?: boolean;
};

/** What programs that change their user, own files and listen on low ports need; Docker's own default has six more. */
export const CAPABILITIES_KEPT = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"] as const;
const PIDS_MAX = 512;
const IN_MEMORY = { "/tmp": "rw,nosuid,nodev,size=64m", "/run": "rw,nosuid,nodev,mode=755,size=16m" };

export function createBody(spec: ContainerSpec): object {
  const ports = spec.ports ?? [];
  const key = (p: Port): string => `${p.containerPort}/${p.protocol ?? "tcp"}`;
  const bindings = Object.fromEntries(
    [...Map.groupBy(ports, key)].map(([port, all]) => [port, all.map((p) => ({ HostIp: p.hostIp ?? "", HostPort: String(p.hostPort) }))]),
  );
  return {
    Image: spec.image,
    Hostname: spec.hostname,
    Cmd: spec.cmd,
    Entrypoint: spec.entrypoint,
    Env: Object.entries(spec.env ?? {}).map(([name, value]) => `${name}=${value}`),
    WorkingDir: spec.workingDir,
    User: spec.user,
    Labels: spec.labels,
    StopSignal: spec.stopSignal,
    StopTimeout: spec.stopTimeoutS,
    Tty: spec.tty ?? false,
    ExposedPorts: Object.fromEntries(ports.map((p) => [key(p), {}])),
    HostConfig: {
      ...limits(spec),
      ...privileges(spec),
      Mounts: (spec.volumes ?? []).map(mountOf),
      PortBindings: bindings,
      RestartPolicy: restartPolicy(spec.restart ?? "no"),
      NetworkMode: spec.network,
      Dns: spec.dns,
      DnsSearch: spec.dnsSearch,
      ExtraHosts: spec.extraHosts,
    },
  };
}

/** What can be changed while it runs. Swap is not more than the RAM: what is over the limit is over. */
export function limits({ cpus, memoryMib, pidsMax = PIDS_MAX }: Pick<ContainerSpec, "cpus" | "memoryMib" | "pidsMax">) {
  const memory = memoryMib === undefined ? {} : { Memory: memoryMib * 2 ** 20, MemorySwap: memoryMib * 2 ** 20 };
  return { ...memory, ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }), PidsLimit: pidsMax };
}

function privileges({
  privileged = false,
  capabilities = CAPABILITIES_KEPT,
  readOnlyRoot = false,
  tmpfs = readOnlyRoot ? IN_MEMORY : {},
  gpus,
}: ContainerSpec) {
  const devices = gpus && [
    { Driver: "nvidia", ...(gpus === "all" ? { Count: -1 } : { DeviceIDs: gpus }), Capabilities: [["gpu", "compute", "utility"]] },
  ];
  return {
    Privileged: privileged,
    ...(!privileged && { CapDrop: ["ALL"], CapAdd: capabilities, SecurityOpt: ["no-new-privileges:true"] }),
    ReadonlyRootfs: readOnlyRoot,
    Tmpfs: tmpfs,
    ...(devices && { DeviceRequests: devices }),
  };
}

function mountOf({ containerPath, readOnly = false, hostPath, name, driver, noCopy = false }: Mount): object {
  const at = { Target: containerPath, ReadOnly: readOnly };
  if (hostPath !== undefined) return { Type: "bind", Source: hostPath, ...at, BindOptions: { Propagation: "rprivate" } };
  const DriverConfig = driver && { Name: "local", Options: driver };
  return { Type: "volume", Source: name, ...at, VolumeOptions: { NoCopy: noCopy, ...(DriverConfig && { DriverConfig }) } };
}

function restartPolicy(policy: string): { Name: string; MaximumRetryCount?: number } {
  const [name, most] = policy.split(":");
  return { Name: name!, ...(most !== undefined && { MaximumRetryCount: Number(most) }) };
}

/** What the container of a machine is called with the engine. */
export function containerName(machine: string): string {
  return `hyperlane-${machine}`;
}

/** A query string, without what is undefined. */
export function query(fields: Record<string, string | number | boolean | undefined>): string {
  const set = Object.entries(fields).filter(([, value]) => value !== undefined);
  return set.length ? `?${new URLSearchParams(set.map(([k, v]): [string, string] => [k, String(v)]))}` : "";
}
