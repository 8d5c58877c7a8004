/**
 * What each runtime can do, as a table: the API refuses by it, the scheduler places by it, a test holds every driver to
 * it. Of Firecracker and Cloud Hypervisor it says what their APIs offer. Pure.
 */
export type Capabilities = {
  kind: "machine" | "container";
  /** While it runs. */
  cpuHotplug: boolean;
  memoryHotplug: boolean;
  diskHotplug: boolean;
  pause: boolean;
  /** Its disk as it was at a moment, and with it its RAM. */
  diskSnapshots: boolean;
  memorySnapshots: boolean;
  /** RAM to another VMM while it runs. */
  liveMigration: boolean;
  /** Running, it goes on on another node, disk included; without a break where its RAM can be sent so, else standing still for that. */
  moving: boolean;
  gpu: boolean;
  /** null: there is nothing to nest in. */
  nested: boolean | null;
  /** An image whose own init runs everything, as systemd does. */
  ownInit: boolean;
  /** Folders of its node, mounted. */
  folders: boolean;
  /** The size asked for bounds what it can write. */
  diskLimit: boolean;
};

export const CAPABILITIES = {
  qemu: {
    ...{ kind: "machine", cpuHotplug: false, memoryHotplug: false, diskHotplug: true, pause: true, diskSnapshots: true },
    ...{ memorySnapshots: true, liveMigration: true, moving: true, gpu: true, nested: true, ownInit: true, folders: true, diskLimit: true },
  },
  "cloud-hypervisor": {
    ...{ kind: "machine", cpuHotplug: true, memoryHotplug: true, diskHotplug: true, pause: true, diskSnapshots: true },
    ...{
      memorySnapshots: true,
      liveMigration: true,
      moving: true,
      gpu: true,
      nested: true,
      ownInit: true,
      folders: true,
      diskLimit: true,
    },
  },
  firecracker: {
    ...{ kind: "machine", cpuHotplug: false, memoryHotplug: false, diskHotplug: true, pause: true, diskSnapshots: true },
    ...{
      memorySnapshots: true,
      liveMigration: false,
      moving: true,
      gpu: false,
      nested: false,
      ownInit: true,
      folders: false,
      diskLimit: true,
    },
  },
  docker: {
    ...{ kind: "container", cpuHotplug: false, memoryHotplug: false, diskHotplug: false, pause: true, diskSnapshots: false },
    ...{
      memorySnapshots: false,
      liveMigration: false,
      moving: false,
      gpu: false,
      nested: null,
      ownInit: false,
      folders: true,
      diskLimit: false,
    },
  },
} as const satisfies Record<string, Capabilities>;

export type RuntimeType = keyof typeof CAPABILITIES;

/** Where nothing else is asked for. */
export const DEFAULT_RUNTIME: RuntimeType = "qemu";

export function isRuntime(name: string): name is RuntimeType {
  return Object.hasOwn(CAPABILITIES, name);
}

/** Of what a spec names; null: of the default. */
export function capabilitiesOf(runtime: string | null): Capabilities {
  const name = runtime ?? DEFAULT_RUNTIME;
  return CAPABILITIES[isRuntime(name) ? name : DEFAULT_RUNTIME];
}
