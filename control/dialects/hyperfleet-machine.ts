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
    kernel_image_path: null,
    kernel_args: null,
    rootfs_path: null,
    socket_path: null,
    image: m.spec.image,
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
  const file = c.kernel_image_path !== undefined ? "kernel_image_path" : c.rootfs_path !== undefined ? "rootfs_path" : undefined;
  if (c.image === undefined)
    throw new HyperlaneError(file ? "UNSUPPORTED" : "INVALID", "A machine is made from an image here: name it in `image`.", {
      field: "image",
      hint: file ? `An archive of what ${file} holds becomes one: vps image import FILE NAME` : 'Like "image": "debian:12".',
    });
  if (file)
    throw new HyperlaneError("UNSUPPORTED", `${file} is not taken beside an image: machines run our kernel, and the image is their root.`, {
      field: file,
    });
  if (c.privileged)
    throw new HyperlaneError("UNSUPPORTED", "A container has no more rights than it needs here: leave `privileged` out.", {
      field: "privileged",
    });
  return {
    name: c.name,
    start: false,
    spec: {
      image: c.image,
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
