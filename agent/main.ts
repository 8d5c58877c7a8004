/** hyperlane-agent: the composition root of a node. Everything it needs stands in DIR/agent.json, written by `hyperlane init`. */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError } from "#contract/errors.ts";
import type { Device } from "#contract/resources/device.ts";
import type { NodeStatus } from "#contract/resources/other.ts";
import { openContainers } from "#agent/containers/containers.ts";
import { openDevices } from "#agent/host/devices.ts";
import { openFolders } from "#agent/host/folders.ts";
import { readJson } from "#agent/host/files.ts";
import { hostSize, type Accelerator } from "#agent/host/probe.ts";
import { bootId } from "#agent/host/process.ts";
import { createTurns } from "#agent/host/turns.ts";
import { openFileSystems, openImages, type Images } from "#agent/images/store.ts";
import { openLanes, type Lanes } from "#agent/machine/lanes.ts";
import { trimLogs } from "#agent/machine/logs.ts";
import { openNetwork } from "#agent/network/apply.ts";
import { hostServers, startResolver } from "#agent/network/dns.ts";
import { gateway4, gateway6 } from "#agent/network/plan.ts";
import { unmountBelow } from "#agent/storage/import.ts";
import { openStorage, type Storage } from "#agent/storage/storage.ts";
import { openVolumes } from "#agent/storage/volumes.ts";
import { openSpares, type Spares } from "#agent/templates/spares.ts";
import type { Ground } from "#agent/templates/shape.ts";
import { openTemplates, type Templates } from "#agent/templates/templates.ts";
import { openGround } from "./ground.ts";
import { startAgentServer } from "./server.ts";

const Config = z.object({
  node: z.string(),
  address: z.string(),
  bridge: z.string(),
  subnet4: z.string(),
  /** The way out of the host, for addresses to be translated on; null: every interface but the bridge. */
  uplink: z.string().nullable().default(null),
  /** Asked for names that are not ours; null: whom the host asks. */
  dnsServer: z.string().nullable().default(null),
  /** Images made into file systems at once. */
  maxBuilds: z.int().min(1).default(2),
  /** Folders of the host below which machines may mount. */
  folders: z.array(z.string()).default([]),
  zpool: z.string().nullable(),
  /** Of a Docker engine, for machines that are containers. */
  dockerSocket: z.string().default("/var/run/docker.sock"),
  /** Programs of other VMMs; null: what the host's path has. */
  firecracker: z.string().nullable().default(null),
  "cloud-hypervisor": z.string().nullable().default(null),
  /** CPUs offered to machines; null: as many as the host has. */
  cpus: z.int().nullable(),
  /** RAM offered to machines; null: as much as the host has. */
  memoryMib: z.int().nullable().default(null),
  /** Folder with vmlinux and initramfs. */
  guestDir: z.string(),
  tls: z.object({ ca: z.string(), key: z.string(), cert: z.string() }),
});
export type AgentConfig = z.infer<typeof Config>;

const LOG_MAX_BYTES = 8 * 1024 * 1024;
const HOUSEKEEPING_MS = 10_000;
/** While one waits for its disk or its network, another computes. */
const STARTS_PER_CPU = 2;
const BOOT_TIMEOUT_MS = 120_000;

/** program: how this program is started as the converter of images. */
export async function runAgent(
  dir: string,
  version: string,
  program: readonly string[],
  log: (line: string) => void,
): Promise<{ close(): Promise<void> }> {
  const raw = readJson(`${dir}/agent.json`);
  if (raw === undefined)
    throw new HyperlaneError("NOT_FOUND", `There is no "${dir}/agent.json": this host is no node yet.`, {
      hint: "Run `hyperlane init` first.",
    });
  const config = Config.parse(raw);
  const { stand, ground, found, devices, containers, images, storage, network, templates, spares, volumes, lanes, ...paths } =
    await openNode(dir, config, program, log);
  await lanes.recover();
  const upstream = config.dnsServer === null ? hostServers : () => [config.dnsServer!];
  const resolver = await startResolver([gateway4(network.network), gateway6(network.network)], lanes.names, upstream);
  // Sysfs is not read anew whenever somebody hears of this node.
  let there = devices.list();
  const status = statusOf(
    version,
    config,
    found,
    compatibilityOf(ground),
    storage,
    () => [...stand.vmms.offered(), ...(containers.there ? [containers.driver.name] : [])],
    stand.vmms.lacking,
    images,
    templates,
    spares,
    () => there,
  );
  const { node, tls } = config;
  const doors = { node, tls, lanes, volumes, images, templates, spares, status, logsDir: paths.logsDir, workDir: `${dir}/work`, log };
  const server = await startAgentServer(doors, config.address);
  const housekeeping = setInterval(() => {
    trimLogs(paths.logsDir, LOG_MAX_BYTES);
    templates.prune(images.list().map((i) => i.rootfs));
    spares.wake();
    void containers.look();
    there = devices.list();
  }, HOUSEKEEPING_MS);
  log(`The agent of ${config.node} listens on ${config.address}.`);
  return {
    async close(): Promise<void> {
      clearInterval(housekeeping);
      server.close();
      resolver.close();
      lanes.detach();
      containers.close();
      await spares.close();
      await templates.close();
    },
  };
}

/** All that the node's machines are made of, each knowing of those that it needs. */
async function openNode(dir: string, config: AgentConfig, program: readonly string[], log: (line: string) => void) {
  const paths = {
    recordsDir: `${dir}/machines`,
    disksDir: `${dir}/disks`,
    logsDir: `${dir}/logs`,
    runDir: `/run/hyperlane/${config.node}`,
  };
  await clearWork(`${dir}/work`);
  mkdirSync(paths.runDir, { recursive: true, mode: 0o711 });
  // Probing boots a kernel, which takes its time: the rest goes on meanwhile.
  const probing = openGround(dir, config.node, config.guestDir, config);
  probing.catch(() => {});
  const storage = await openStorage(paths.disksDir, config.zpool);
  const { bridge, subnet4, uplink } = config;
  const network = await openNetwork({ bridge, subnet4, uplink, prefix6: prefix6Of(config.node) });
  const { found, ground, ...stand } = await probing;
  log(`Machines run on ${found.accelerator}: ${found.reason}.`);
  // An emulated guest is slower at unpacking than any disk.
  const files = openFileSystems(`${dir}/images`, program, found.accelerator === "kvm");
  const engine = { node: config.node, socket: config.dockerSocket, init: `${config.guestDir}/init-container` };
  const containers = openContainers({ ...engine, disksDir: `${paths.runDir}-disks`, log });
  await containers.look();
  const images = openImages(files, containers.images, config.maxBuilds);
  const { runDir } = paths;
  const templates = openTemplates({ ...stand, ground, dir: `${dir}/templates`, runDir, network, image: images.find, log });
  const starts = createTurns(hostSize().cpu * STARTS_PER_CPU);
  const spares = openSpares({
    ...stand,
    dir: `${dir}/spares`,
    places: ground.places,
    runDir,
    network,
    templates,
    image: images.find,
    roomMib: () => hostSize().memoryMib - lanes.promisedMib(),
    uids: () => lanes.uids(),
    starts,
    log,
  });
  const devices = openDevices();
  const volumes = openVolumes({
    recordsDir: `${dir}/volumes`,
    storage,
    workDir: `${dir}/work`,
    frozen: (machine, work) => lanes.get(machine)?.frozen(work) ?? work(),
    grown: (machine) => lanes.get(machine)?.wake(),
    log,
  });
  const lanes: Lanes = openLanes({
    ...stand,
    tls: config.tls,
    ...paths,
    storage,
    images,
    containers,
    volumes,
    folders: openFolders(config.folders, `/run/hyperlane/${config.node}-folders`),
    devices,
    network,
    templates,
    spares,
    starts,
    bootTimeoutMs: BOOT_TIMEOUT_MS,
    log,
  });
  return { stand, ground, found, devices, containers, images, storage, network, templates, spares, volumes, lanes, ...paths };
}

/** What an agent that was killed has left of work in progress. */
async function clearWork(dir: string): Promise<void> {
  await unmountBelow(dir);
  rmSync(dir, { recursive: true, force: true });
}

/** What a machine that runs counts on, wherever it goes. */
function compatibilityOf({ runtime, runtimeVersion, accelerator, cpuModel }: Ground): string {
  return createHash("sha256")
    .update(JSON.stringify([runtime, runtimeVersion, accelerator, cpuModel]))
    .digest("hex")
    .slice(0, 12);
}

/** What the node reports of itself. */
function statusOf(
  version: string,
  { cpus, memoryMib, folders }: AgentConfig,
  { accelerator, reason }: Accelerator,
  compatibility: string,
  storage: Storage,
  runtimes: () => string[],
  lacking: NodeStatus["lacking"],
  images: Images,
  templates: Templates,
  spares: Spares,
  devices: () => Device[],
): () => NodeStatus {
  const size = hostSize();
  const boot = bootId();
  return () => ({
    version,
    bootId: boot,
    cpu: cpus ?? size.cpu,
    memoryMib: memoryMib ?? size.memoryMib,
    ...storage.space(),
    accelerator,
    acceleratorReason: reason,
    compatibility,
    storage: storage.kind,
    runtimes: runtimes(),
    lacking,
    images: images.list(),
    folders,
    templates: templates.list().map((t) => ({ ...t, spares: spares.count(t.key) })),
    devices: devices(),
  });
}

/** A ULA /64 of the node's own (RFC 4193), from its id. */
function prefix6Of(node: string): string {
  const h = createHash("sha256").update(node).digest("hex");
  return `fd${h.slice(0, 2)}:${h.slice(2, 6)}:${h.slice(6, 10)}:${h.slice(10, 14)}`.replace(/:0+(?=[0-9a-f])/g, ":");
}
