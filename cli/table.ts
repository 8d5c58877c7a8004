/** All commands, in the order of the overview. `load` keeps start-up free of what is not used. */
import type { Command } from "#cli/command.ts";

type Row = { group: "Machines" | "Inside" | "Disks and images" | "System"; summary: string; load: () => Promise<Command> };
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
  list: { group: "Machines", summary: "List machines", load: machines("list") },
  show: { group: "Machines", summary: "Everything about one machine", load: machines("show") },
  scale: { group: "Machines", summary: "Change CPU and RAM", load: machines("scale") },
  start: { group: "Machines", summary: "Start a machine; also the retry of a failed one", load: machines("start") },
  stop: { group: "Machines", summary: "Shut a machine down", load: machines("stop") },
  restart: { group: "Machines", summary: "Stop a machine, then start it", load: machines("restart") },
  pause: { group: "Machines", summary: "Freeze a machine where it stands", load: machines("pause") },
  resume: { group: "Machines", summary: "Let a paused machine go on", load: machines("resume") },
  expose: {
    group: "Machines",
    summary: "Make a machine's port reachable from outside",
    load: () => import("./commands/expose.ts").then((m) => m.expose),
  },
  destroy: { group: "Machines", summary: "Destroy a machine, its disk and its snapshots", load: machines("destroy") },
  ssh: { group: "Inside", summary: "Open a shell over SSH", load: () => import("./commands/ssh.ts").then((m) => m.ssh) },
  exec: { group: "Inside", summary: "Run a command without the network", load: () => import("./commands/exec.ts").then((m) => m.exec) },
  cp: { group: "Inside", summary: "Copy files in or out", load: () => import("./commands/cp.ts").then((m) => m.cp) },
  logs: { group: "Inside", summary: "Console or workload output", load: () => import("./commands/logs.ts").then((m) => m.logs) },
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
  "image list": { group: "Disks and images", summary: "List images", load: () => import("./commands/images.ts").then((m) => m.imageList) },
  "image create": {
    group: "Disks and images",
    summary: "Make an image from a machine",
    load: () => import("./commands/images.ts").then((m) => m.imageCreate),
  },
  "image rm": { group: "Disks and images", summary: "Remove an image", load: () => import("./commands/images.ts").then((m) => m.imageRm) },
  events: { group: "System", summary: "What happened", load: () => import("./commands/events.ts").then((m) => m.events) },
  "node list": {
    group: "System",
    summary: "List nodes and what they offer",
    load: () => import("./commands/nodes.ts").then((m) => m.nodeList),
  },
  "token list": { group: "System", summary: "List API tokens", load: () => import("./commands/tokens.ts").then((m) => m.tokenList) },
  "token create": { group: "System", summary: "Make an API token", load: () => import("./commands/tokens.ts").then((m) => m.tokenCreate) },
  "token rm": { group: "System", summary: "Revoke an API token", load: () => import("./commands/tokens.ts").then((m) => m.tokenRm) },
  doctor: {
    group: "System",
    summary: "Check this host, and say what to do",
    load: () => import("./commands/doctor.ts").then((m) => m.doctor),
  },
} satisfies Record<string, Row>;
