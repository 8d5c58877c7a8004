/** What every runtime offers the agent. A driver is one folder: command.ts (pure: spec -> argv) and driver.ts (effects). */

/** startTime and bootId make the pid unambiguous: a reused one is not the same process. */
export type ProcessId = { pid: number; startTime: number; bootId: string };

/** All that a machine's process is made from. Paths are on the node; sockets are made by the VMM in runDir. */
export type VmSpec = {
  id: string;
  name: string;
  cpu: number;
  memoryMib: number;
  kernel: string;
  initramfs: string;
  /** In their place: a kernel of the user's, told this after what all such are; its disk is its root, and the image is not there. null: none. */
  own: { kernel: string; initramfs: string | null; args: string } | null;
  /** Read-only root image, shared; null: there will be one. */
  image: string | null;
  /** The machine's own writable layer; null: there will be one. */
  disk: string | null;
  /** Places for volumes, in order: /dev/vdc and up. file: null for one that is free. */
  volumes: { file: string | null; readonly: boolean }[];
  /** Folders of the host, in order: virtiofs "A" and up. */
  folders: { source: string; readonly: boolean }[];
  /** PCI addresses of the host's, which are vfio-pci's by now. */
  devices: string[];
  tap: string;
  mac: string;
  /** The VMM's user and group: nobody else's, unprivileged. */
  uid: number;
  accelerator: "kvm" | "tcg";
  /** Host CPU frequency, so that the guest need not calibrate; 0: unknown. */
  tscKhz: number;
  runDir: string;
  consoleLog: string;
  workloadLog: string;
  /** The program in the image that becomes PID 1; null: ours stays, runs a workload, and ends the machine with it. */
  init: string | null;
  /** null: it boots. Else it goes on from where another was saved that was made from the same, but for its disks, names and addresses. */
  from: Origin | null;
};

/**
 * memory: opens a file of the RAM's size, which is mapped copy-on-write; whose it stays. devices, own: files that Vm.save wrote; own lies over
 * the memory. paused: it stands still until it is resumed.
 */
export type Origin = { memory(): Promise<number>; devices: string; own: string | null; paused: boolean };

/** internal-error: the hypervisor cannot go on. off: the guest has powered itself off, its VMM waits to be ended. */
export type VmState = "running" | "paused" | "off" | "internal-error" | "gone";

/**
 * Its way to another VMM, which waits for it (Driver.receive). disk, memory: sockets that lead there. send: while it runs; in the
 * end it stands still, with all of it over there: since when, in ms since 1970. cancel: it runs on here, from wherever it stands.
 */
export type Mover = { send(to: { disk: string; memory: string }, signal: AbortSignal): Promise<number>; cancel(): Promise<void> };

/** One that waits for another to become it. disk, memory: sockets for what comes. arrived: once all of it has; it stands still then. */
export type Arrival = { vm: Vm; disk: string; memory: string; arrived(signal: AbortSignal): Promise<void> };

/** One started machine, found again by the folder that it works in. It outlives the agent: `attach` finds it again. */
export type Vm = {
  readonly process: ProcessId;
  state(): Promise<VmState>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  powerButton(): Promise<void>;
  /**
   * One that was made before anybody knew what for becomes this machine: its sockets, its logs, and what its disks
   * hold. It was made with the same size and user, its TAP is called as the machine's by now. If it stood still, it runs on.
   */
  become(spec: VmSpec): Promise<void>;
  /** And it gets limits under the machine's name. */
  confine(spec: VmSpec): Promise<void>;
  /** Puts a volume to write to in a place for one while the guest runs. */
  insertVolume(place: number, file: string): Promise<void>;
  removeVolume(place: number, readonly: boolean): Promise<void>;
  /** The volume in this place is larger now. */
  growVolume(place: number, bytes: number): Promise<void>;
  /**
   * Stops the guest where it stands, and writes its devices and its RAM: all of it, or where it shares a memory what
   * differs from that. whole: the pages of that memory, for all of it all the same.
   */
  save(to: { devices: string; pages: string; whole: string | null }, memoryMib: number): Promise<void>;
  /** null: it stays where it is. */
  readonly mover: Mover | null;
  /** null: its guest knows best. */
  usage(): Promise<Usage | null>;
  /** Ends the VMM, without telling the guest. */
  quit(): Promise<void>;
  /** Called when the state changed by itself, or the process ended. paused: by somebody else. */
  onChange(listener: (what: "reset" | "off" | "gone" | "paused" | "other") => void): void;
  /** Lets go of it without touching it. */
  detach(): void;
};

/** What is in use of it where its guest does not see that itself. cpuMs: CPU time since its start. */
export type Usage = { memoryMib: number; memoryFreeMib: number; cpuMs: number };

export type GuestAddress = { path: string; port?: number; serve?: boolean };

/** Spec: what its machines are made from. */
export type Driver<Spec = VmSpec> = {
  readonly name: string;
  /** Saved memory is all of it each time, and no difference to what it went on from. */
  readonly savesWhole: boolean;
  /** Where init of the machine in this folder is reached. port: of a vsock, which the VMM at that path is asked for. serve: it comes to us. */
  guest(runDir: string): GuestAddress;
  /** Of the VMM or the engine: what one version has saved, another may not understand. */
  version(): Promise<string>;
  start(spec: Spec, signal: AbortSignal): Promise<Vm>;
  /** Where it can: one that waits to become another, which was made from a spec of the same shape. boots: that one had booted. */
  receive?(spec: Spec, boots: boolean, signal: AbortSignal): Promise<Arrival>;
  /** undefined: that process is gone. */
  attach(process: ProcessId, runDir: string): Promise<Vm | undefined>;
  /** What there is of this node's machines, not of those of another agent on the host; process: null where it does not run. runRoot: their folders are in it. */
  list(runRoot: string): Promise<{ id: string; process: ProcessId | null }[]>;
  /** What it has kept of a machine that is no more. */
  forget(id: string): Promise<void>;
};
