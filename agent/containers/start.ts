/** Starting a container: the image is with the engine, the volumes are disks of this host, and the network is a cable of ours. */
import { lendMounts } from "#agent/machine/mounts.ts";
import { logSizes, prepareLogs } from "#agent/machine/logs.ts";
import { beginStart, createSteps, type Start } from "#agent/machine/start.ts";
import { gateway4, gateway6 } from "#agent/network/plan.ts";
import { ZONE } from "#agent/network/dns.ts";
import type { Mount } from "#runtimes/docker/command.ts";
import type { ContainerJob } from "#runtimes/docker/driver.ts";
import type { Containers } from "./containers.ts";

export async function startContainer(s: Start, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { id, rootfs } = record.desired;
  const { containers } = deps;
  beginStart(s);
  await using undo = new AsyncDisposableStack();
  undo.defer(s.endProcess);
  const step = createSteps(s);
  const image = await step("image", () => deps.images.arrived(rootfs!, signal));
  const mounts = await step("disk", () => lend(s, containers, signal));
  record.logFrom = logSizes(deps.logsDir, id);
  const vm = await step("start", () => containers.driver.start(jobOf(s, containers, image, mounts), signal));
  await step("network", () => deps.network.attachContainer(id, vm.process.pid, s.addresses()));
  s.take(vm);
  s.set("starting", { origin: "boot" });
  await s.settle(await step("ready", () => s.becomeReady(signal)));
  undo.move();
}

/** The volumes' disks and the folders, as what the engine mounts. */
async function lend({ record, mounts, uid }: Start, containers: Containers, signal: AbortSignal): Promise<Mount[]> {
  const { id } = record.desired;
  const { volumes, folders } = await lendMounts(mounts, uid(), signal);
  const made: Mount[] = [];
  for (const [i, { volume, path, readonly, fresh }] of record.places.entries()) {
    if (volume === null) continue;
    const device = await containers.lendDisk(id, i, volumes[i]!.file!, readonly, uid());
    const options = `noatime,nosuid,nodev${readonly ? ",ro,noload" : ""}`;
    const driver = { type: "ext4", device, o: options };
    made.push({
      name: `hyperlane-${id}-${volume}-${readonly ? "ro" : "rw"}`,
      driver,
      containerPath: path,
      readOnly: readonly,
      noCopy: !fresh,
    });
  }
  return [
    ...made,
    ...folders.map(({ source, readonly }, i) => ({ hostPath: source, containerPath: record.folders[i]!.path, readOnly: readonly })),
  ];
}

function jobOf({ record, deps, runDir, addresses }: Start, { init }: Containers, image: string, mounts: Mount[]): ContainerJob {
  const { id, name, spec } = record.desired;
  const { network } = deps.network;
  const { address4, address6 } = addresses();
  const hostname = spec.hostname ?? name;
  return {
    ...{ id, name, cpu: spec.cpu, memoryMib: spec.memoryMib, image, mounts, init, runDir: runDir() },
    ...{ hostname, extraHosts: [`${hostname}:${address4}`, `${hostname}:${address6}`] },
    ...{ dns: [gateway4(network), gateway6(network)], dnsSearch: [ZONE] },
    readOnlyRoot: spec.readOnly,
    workloadLog: prepareLogs(deps.logsDir, id, 0).workloadLog,
  };
}
