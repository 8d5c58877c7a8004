/** A machine in Hyperfleet's words, and back. Pure. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import { containerName } from "#runtimes/docker/command.ts";
import type { Create, Status } from "./hyperfleet-routes.ts";

/** One that was made and never started is pending. */
export function statusOf(m: Pick<Machine, "state" | "destroying" | "observed" | "power">): Status {
  if (m.destroying) return "stopping";
  if (m.state === "failed" || m.state === "running" || m.state === "paused")
    return m.power === "stopped" && m.state !== "failed" ? "stopping" : m.state;
  if (m.state === "standby") return "paused";
  if (m.power === "stopped") return (m.observed?.origin ?? null) === null ? "pending" : "stopped";
  return m.state === "stopped" ? "stopped" : "starting";
}

export function toTheirs(m: Machine) {
  const container = m.spec.runtime === "docker";
  const started = m.observed?.pid !== null && m.observed !== null;
  return {
    id: m.id,
    name: m.name,
    status: statusOf(m),
    runtime_type: m.spec.runtime ?? DEFAULT_RUNTIME,
    vcpu_count: m.spec.cpu,
    mem_size_mib: m.spec.memoryMib,
    kernel_image_path: m.spec.kernel?.path ?? null,
    kernel_args: m.spec.kernel?.args ?? null,
    rootfs_path: m.spec.kernel ? m.spec.image : null,
    socket_path: null,
    image: m.spec.kernel ? null : m.spec.image,
    container_id: container && started ? containerName(m.id) : null,
    pid: m.observed?.pid ?? null,
    guest_ip: m.observed?.address4 ?? null,
    ports: m.exposures.map((e) => ({ host_port: e.hostPort, container_port: e.port, protocol: e.protocol })),
    env: m.spec.env,
    exit_code: m.observed?.exitCode ?? null,
    error_message: m.reason,
    created_at: new Date(m.createdAt).toISOString(),
    updated_at: new Date(m.updatedAt).toISOString(),
  };
}

/** The body of our createMachine. What we would do in another way than was asked is refused. */
export function toCreate(c: Create) {
  const { image, kernel } = rootOf(c);
  if (c.privileged)
    throw new HyperlaneError("UNSUPPORTED", "A container has no more rights than it needs here: leave `privileged` out.", {
      field: "privileged",
    });
  return {
    name: c.name,
    start: false,
    spec: {
      image,
      kernel,
      runtime: c.runtime_type,
      cpu: c.vcpu_count,
      memoryMib: c.mem_size_mib,
      env: c.env,
      restart: c.restart,
      ...(c.cmd && { cmd: c.cmd }),
      ...(c.entrypoint && { entrypoint: c.entrypoint }),
      ...(c.working_dir !== undefined && { workdir: c.working_dir }),
      ...(c.user !== undefined && { user: c.user }),
      mounts: c.volumes.map(({ host_path, container_path, read_only }) => {
        const folder = host_path.startsWith("/");
        return { volume: folder ? null : host_path, folder: folder ? host_path : null, path: container_path, readonly: read_only };
      }),
    },
    exposures: c.ports.map(({ host_port, container_port, protocol }) => ({ port: container_port, hostPort: host_port, protocol })),
  };
}

/** An image; or a kernel and a disk, files of the host. */
function rootOf({ image, kernel_image_path: path, kernel_args: args, rootfs_path: disk }: Create) {
  if (image !== undefined && path === undefined && disk === undefined) return { image, kernel: null };
  if (image !== undefined)
    throw new HyperlaneError("UNSUPPORTED", "A machine boots a kernel and a disk of its own, or an image: name one of the two.", {
      field: "image",
    });
  if (path === undefined && disk === undefined)
    throw new HyperlaneError("INVALID", "What is it to run? Name an image in `image`, or `kernel_image_path` and `rootfs_path`.", {
      field: "image",
      hint: 'Like "image": "debian:12".',
    });
  if (path === undefined || disk === undefined)
    throw new HyperlaneError("INVALID", "A kernel and a disk go together: name both `kernel_image_path` and `rootfs_path`.", {
      field: path === undefined ? "kernel_image_path" : "rootfs_path",
    });
  return { image: disk, kernel: { path, initramfs: null, args: args ?? null } };
}
