/** All commands, in the order of the overview. `load` keeps start-up free of what is not used. */
import type { Command } from "#cli/command.ts";

type Row = {
  group: "Machines" | "Inside" | "Disks and images" | "Volumes and networks" | "System";
  summary: string;
  load: () => Promise<Command>;
};
const docker = (name: string) => () =>
  import("./commands/ps.ts").then((m) => [m.ps, m.port, m.wait, m.kill, m.rename, m.inspect].find((c) => c.name === name)!);
const images = (name: string) => () =>
  import("./commands/images.ts").then((m) =>
    [m.imageList, m.imagePull, m.imagePush, m.imageCreate, m.commit, m.imageTag].find((c) => c.name === name)!,
  );
const archives = (name: string) => () =>
  import("./commands/archives.ts").then((m) => [m.imageSave, m.imageLoad, m.imageImport].find((c) => c.name === name)!);
const tidying = (name: string) => () =>
  import("./commands/images.ts").then((m) => [m.imageInspect, m.imageHistory, m.imageRm, m.imagePrune].find((c) => c.name === name)!);
const volumes = (name: string) => () =>
  import("./commands/volumes.ts").then((m) =>
    [
      m.volumeCreate,
      m.volumeList,
      m.volumeInspect,
      m.volumeRm,
      m.volumePrune,
      m.volumeResize,
      m.volumeImport,
      m.volumeAttach,
      m.volumeDetach,
    ].find((c) => c.name === name)!,
  );
const templates = (name: string) => () =>
  import("./commands/templates.ts").then((m) =>
    [m.templateBuild, m.templateList, m.templateRm, m.templatePrune].find((c) => c.name === name)!,
  );
const networks = (name: string) => () =>
  import("./commands/networks.ts").then((m) =>
    [m.networkCreate, m.networkList, m.networkInspect, m.networkRm, m.networkPrune, m.networkConnect, m.networkDisconnect].find(
      (c) => c.name === name,
    )!,
  );
const machines = (name: string) => () =>
  import("./commands/machines.ts").then((m) => [m.list, m.show, m.scale, m.destroy, ...m.powerCommands].find((c) => c.name === name)!);

export const COMMANDS = {
  init: {
    group: "Machines",
    summary: "Write a hyperlane.yaml for this project",
    load: () => import("./commands/init.ts").then((m) => m.init),
  },
  up: {
    group: "Machines",
    summary: "Create a machine, or bring it to what you ask for",
    load: () => import("./commands/up.ts").then((m) => m.up),
  },
  run: { group: "Machines", summary: "Run an image in a machine of its own", load: () => import("./commands/run.ts").then((m) => m.run) },
  list: { group: "Machines", summary: "List machines", load: machines("list") },
  ps: { group: "Machines", summary: "List running machines with what they run", load: docker("ps") },
  show: { group: "Machines", summary: "Everything about one machine", load: machines("show") },
  standby: {
    group: "Machines",
    summary: "Put a machine's memory on the disk until somebody wants something of it",
    load: () => import("./commands/standby.ts").then((m) => m.standby),
  },
  migrate: {
    group: "Machines",
    summary: "Bring a running machine to another node",
    load: () => import("./commands/migrate.ts").then((m) => m.migrate),
  },
  scale: { group: "Machines", summary: "Change CPU and RAM", load: machines("scale") },
  start: { group: "Machines", summary: "Start a machine; also the retry of a failed one", load: machines("start") },
  stop: { group: "Machines", summary: "Shut a machine down", load: machines("stop") },
  restart: { group: "Machines", summary: "Stop a machine, then start it", load: machines("restart") },
  pause: { group: "Machines", summary: "Freeze a machine where it stands", load: machines("pause") },
  resume: { group: "Machines", summary: "Let a paused machine go on", load: machines("resume") },
  kill: { group: "Machines", summary: "Send a signal to a workload", load: docker("kill") },
  wait: { group: "Machines", summary: "Wait until machines have ended", load: docker("wait") },
  rename: { group: "Machines", summary: "Give a machine another name", load: docker("rename") },
  port: { group: "Machines", summary: "Where a machine's ports are reachable", load: docker("port") },
  expose: {
    group: "Machines",
    summary: "Make a machine's port reachable from outside",
    load: () => import("./commands/expose.ts").then((m) => m.expose),
  },
  destroy: { group: "Machines", summary: "Destroy a machine, its disk and its snapshots", load: machines("destroy") },
  ssh: { group: "Inside", summary: "Open a shell over SSH", load: () => import("./commands/ssh.ts").then((m) => m.ssh) },
  exec: { group: "Inside", summary: "Run a command without the network", load: () => import("./commands/exec.ts").then((m) => m.exec) },
  cp: { group: "Inside", summary: "Copy files in or out", load: () => import("./commands/cp.ts").then((m) => m.cp) },
  attach: { group: "Inside", summary: "A workload's output and stdin", load: () => import("./commands/stats.ts").then((m) => m.attach) },
  top: { group: "Inside", summary: "What runs in a machine", load: () => import("./commands/top.ts").then((m) => m.top) },
  stats: { group: "Inside", summary: "CPU, RAM, network and disk in use", load: () => import("./commands/stats.ts").then((m) => m.stats) },
  inspect: { group: "Inside", summary: "Everything about machines or images, as JSON", load: docker("inspect") },
  logs: { group: "Inside", summary: "What a machine prints", load: () => import("./commands/logs.ts").then((m) => m.logs) },
  "ssh-config": {
    group: "Inside",
    summary: "Configuration for ssh, scp, sftp and rsync",
    load: () => import("./commands/ssh.ts").then((m) => m.sshConfig),
  },
  "ssh-proxy": {
    group: "Inside",
    summary: "The tunnel that OpenSSH talks through",
    load: () => import("./commands/ssh.ts").then((m) => m.sshProxy),
  },
  snapshot: {
    group: "Disks and images",
    summary: "Keep a machine's disk as it is now",
    load: () => import("./commands/snapshots.ts").then((m) => m.snapshot),
  },
  "snapshot list": {
    group: "Disks and images",
    summary: "List a machine's snapshots",
    load: () => import("./commands/snapshots.ts").then((m) => m.snapshotList),
  },
  "snapshot restore": {
    group: "Disks and images",
    summary: "Put a machine's disk back",
    load: () => import("./commands/snapshots.ts").then((m) => m.snapshotRestore),
  },
  "snapshot rm": {
    group: "Disks and images",
    summary: "Remove a snapshot",
    load: () => import("./commands/snapshots.ts").then((m) => m.snapshotRm),
  },
  "image list": { group: "Disks and images", summary: "List images", load: images("image list") },
  "image pull": { group: "Disks and images", summary: "Bring an image in from a registry", load: images("image pull") },
  "image push": { group: "Disks and images", summary: "Send an image to a registry", load: images("image push") },
  "image create": { group: "Disks and images", summary: "Make an image from a machine", load: images("image create") },
  commit: { group: "Disks and images", summary: "Make an image from a machine", load: images("commit") },
  "image tag": { group: "Disks and images", summary: "Give an image another name", load: images("image tag") },
  "image inspect": { group: "Disks and images", summary: "Everything about an image", load: tidying("image inspect") },
  "image history": { group: "Disks and images", summary: "The steps an image was made in", load: tidying("image history") },
  "image save": { group: "Disks and images", summary: "Write images to an archive", load: archives("image save") },
  "image load": { group: "Disks and images", summary: "Take images in from an archive", load: archives("image load") },
  "image import": { group: "Disks and images", summary: "Make an image from a root file system", load: archives("image import") },
  "image rm": { group: "Disks and images", summary: "Remove images", load: tidying("image rm") },
  "image prune": { group: "Disks and images", summary: "Remove every image that no machine uses", load: tidying("image prune") },
  "volume create": { group: "Volumes and networks", summary: "Make a volume", load: volumes("volume create") },
  "volume list": { group: "Volumes and networks", summary: "List volumes", load: volumes("volume list") },
  "volume inspect": { group: "Volumes and networks", summary: "Everything about volumes, as JSON", load: volumes("volume inspect") },
  "volume attach": { group: "Volumes and networks", summary: "Mount a volume in a machine", load: volumes("volume attach") },
  "volume detach": { group: "Volumes and networks", summary: "Take a volume away from a machine", load: volumes("volume detach") },
  "volume resize": { group: "Volumes and networks", summary: "Make a volume larger", load: volumes("volume resize") },
  "volume import": { group: "Volumes and networks", summary: "Replace what a volume holds by an archive", load: volumes("volume import") },
  "volume rm": { group: "Volumes and networks", summary: "Remove volumes", load: volumes("volume rm") },
  "volume prune": { group: "Volumes and networks", summary: "Remove every volume that no machine uses", load: volumes("volume prune") },
  "network create": { group: "Volumes and networks", summary: "Make a network", load: networks("network create") },
  "network list": { group: "Volumes and networks", summary: "List networks and who is in them", load: networks("network list") },
  "network inspect": { group: "Volumes and networks", summary: "Everything about networks, as JSON", load: networks("network inspect") },
  "network connect": { group: "Volumes and networks", summary: "Bring a machine into a network", load: networks("network connect") },
  "network disconnect": { group: "Volumes and networks", summary: "Take a machine out of a network", load: networks("network disconnect") },
  "network rm": { group: "Volumes and networks", summary: "Remove networks", load: networks("network rm") },
  "network prune": {
    group: "Volumes and networks",
    summary: "Remove every network that no machine is in",
    load: networks("network prune"),
  },
  "template list": { group: "Disks and images", summary: "List templates", load: templates("template list") },
  "template build": { group: "Disks and images", summary: "Make an image's template now", load: templates("template build") },
  "template rm": { group: "Disks and images", summary: "Remove templates", load: templates("template rm") },
  "template prune": { group: "Disks and images", summary: "Remove every template", load: templates("template prune") },
  events: { group: "System", summary: "What happened", load: () => import("./commands/events.ts").then((m) => m.events) },
  "node list": {
    group: "System",
    summary: "List nodes and what they offer",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeList),
  },
  "node add": {
    group: "System",
    summary: "Enrol another host as a node",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeAdd),
  },
  "node rm": {
    group: "System",
    summary: "Take a node out that has nothing any more",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeRemove),
  },
  "node drain": {
    group: "System",
    summary: "Place no more machines on a node",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeDrain),
  },
  "node undrain": {
    group: "System",
    summary: "Place machines on a node again",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeUndrain),
  },
  "device list": {
    group: "System",
    summary: "List devices that machines can have",
    load: () => import("./commands/devices.ts").then((m) => m.deviceList),
  },
  "runtime list": {
    group: "System",
    summary: "List what machines can run on",
    load: () => import("./commands/runtimes.ts").then((m) => m.runtimeList),
  },
  "token list": { group: "System", summary: "List API tokens", load: () => import("./commands/tokens.ts").then((m) => m.tokenList) },
  "token create": { group: "System", summary: "Make an API token", load: () => import("./commands/tokens.ts").then((m) => m.tokenCreate) },
  "token rm": { group: "System", summary: "Revoke an API token", load: () => import("./commands/tokens.ts").then((m) => m.tokenRm) },
  "certificate list": {
    group: "System",
    summary: "List what vouches for users, machines and nodes",
    load: () => import("./commands/certificates.ts").then((m) => m.certificateList),
  },
  web: { group: "System", summary: "Open the web UI, signed in", load: () => import("./commands/web.ts").then((m) => m.web) },
  doctor: {
    group: "System",
    summary: "Check this host, and say what to do",
    load: () => import("./commands/doctor.ts").then((m) => m.doctor),
  },
} satisfies Record<string, Row>;
