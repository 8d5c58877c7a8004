/** How Firecracker and its jailer are started, and what a machine's drives are. Pure. */
import type { z } from "zod";
import type { Drive, RateLimiter } from "./schema.ts";

export type DriveSpec = z.input<typeof Drive>;
type More = {
  id?: string;
  readOnly?: boolean;
  cacheType?: "Unsafe" | "Writeback";
  ioEngine?: "Sync" | "Async";
  rateLimiter?: z.input<typeof RateLimiter>;
};

/** The root drive first, then others in order: /dev/vda, /dev/vdb, ... */
export class DrivesBuilder {
  readonly #drives: DriveSpec[];

  constructor(rootPath: string, more: More & { partuuid?: string } = {}) {
    const partuuid = more.partuuid === undefined ? {} : { partuuid: more.partuuid };
    this.#drives = [{ ...driveOf(rootPath, { id: "rootfs", ...more }), is_root_device: true, ...partuuid }];
  }

  addDrive(path: string, more: More = {}): this {
    const drive = driveOf(path, { id: `drive${this.#drives.length}`, ...more });
    if (this.#drives.some((d) => d.drive_id === drive.drive_id)) throw new Error(`There is a drive "${drive.drive_id}" already.`);
    this.#drives.push(drive);
    return this;
  }

  build(): DriveSpec[] {
    return [...this.#drives];
  }
}

function driveOf(path: string, { id, readOnly = false, cacheType, ioEngine, rateLimiter }: More & { id: string }): DriveSpec {
  return {
    ...{ drive_id: id, path_on_host: path, is_root_device: false, is_read_only: readOnly },
    ...(cacheType && { cache_type: cacheType }),
    ...(ioEngine && { io_engine: ioEngine }),
    ...(rateLimiter && { rate_limiter: rateLimiter }),
  };
}

/**
 * The jailer's cell: BASE/NAME OF THE PROGRAM/ID/root is all that the VMM sees, as this user and group. cgroups: FILE to value,
 * like "cpu.max". limits: "fsize" and "no-file". netns: the path of a network namespace.
 */
export type Jail = {
  uid: number;
  gid: number;
  chrootBase?: string;
  jailerBin?: string;
  netns?: string;
  cgroupVersion?: 1 | 2;
  parentCgroup?: string;
  cgroups?: Record<string, string>;
  limits?: Record<string, number>;
  newPidNs?: boolean;
};

/** As a cell's VMM calls it, and as the host does. */
const JAILED_SOCKET = "/run/firecracker.socket";

export function firecrackerArgv({ binary, id, socketPath }: { binary: string; id: string; socketPath: string }): string[] {
  return [binary, "--id", id, "--api-sock", socketPath];
}

export function jailRoot({ chrootBase = "/srv/jailer" }: Jail, binary: string, id: string): string {
  return `${chrootBase}/${nameOf(binary)}/${id}/root`;
}

export function jailedSocket(jail: Jail, binary: string, id: string): string {
  return `${jailRoot(jail, binary, id)}${JAILED_SOCKET}`;
}

/** Firecracker's docs/jailer.md. What follows "--" is for the VMM. */
export function jailerArgv(jail: Jail, { binary, id }: { binary: string; id: string }): string[] {
  const { uid, gid, jailerBin = "jailer", chrootBase, netns, cgroupVersion = 2, parentCgroup, cgroups = {}, limits = {}, newPidNs } = jail;
  return [
    ...[jailerBin, "--id", id, "--exec-file", binary, "--uid", String(uid), "--gid", String(gid)],
    ...(chrootBase === undefined ? [] : ["--chroot-base-dir", chrootBase]),
    ...["--cgroup-version", String(cgroupVersion)],
    ...(parentCgroup === undefined ? [] : ["--parent-cgroup", parentCgroup]),
    ...Object.entries(cgroups).flatMap(([file, value]) => ["--cgroup", `${file}=${value}`]),
    ...Object.entries(limits).flatMap(([name, value]) => ["--resource-limit", `${name}=${value}`]),
    ...(netns === undefined ? [] : ["--netns", netns]),
    ...(newPidNs ? ["--new-pid-ns"] : []),
    ...["--", "--api-sock", JAILED_SOCKET],
  ];
}

/** What the files of a machine are called in its cell. */
export function inJail(path: string): string {
  return `/${nameOf(path)}`;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
