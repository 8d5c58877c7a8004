/**
 * The operation table: all the API can do. REST routes, OpenAPI, the SDK, permission checks and the
 * coverage tests derive from it. Plain data, so that the CLI loads it in no time; the schemas of
 * inputs and outputs stand under the same names in schemas.ts.
 */
export type Operation = {
  method: "GET" | "POST" | "PATCH" | "DELETE";
  /** `{name}` is a parameter. */
  path: string;
  permission: "open" | "read" | "write" | "shell";
  summary: string;
  /** A WebSocket instead of an answer. */
  live?: true;
};

export const OPERATIONS = {
  health: { method: "GET", path: "/v1/health", permission: "open", summary: "Whether the control plane works" },
  metrics: { method: "GET", path: "/metrics", permission: "read", summary: "Prometheus metrics" },
  openapi: { method: "GET", path: "/v1/openapi.json", permission: "read", summary: "This API as OpenAPI 3.1" },
  whoami: { method: "GET", path: "/v1/whoami", permission: "read", summary: "The token in use and its role, or the session" },
  listMachines: { method: "GET", path: "/v1/machines", permission: "read", summary: "List machines, by label, state or name" },
  createMachine: { method: "POST", path: "/v1/machines", permission: "write", summary: "Ask for a machine" },
  getMachine: { method: "GET", path: "/v1/machines/{machine}", permission: "read", summary: "One machine, by name or id" },
  updateMachine: {
    method: "PATCH",
    path: "/v1/machines/{machine}",
    permission: "write",
    summary: "Change CPU, RAM, image, environment or labels",
  },
  destroyMachine: {
    method: "DELETE",
    path: "/v1/machines/{machine}",
    permission: "write",
    summary: "Destroy a machine, its disk and its snapshots",
  },
  startMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/start",
    permission: "write",
    summary: "Start it; also the retry of a failed one",
  },
  stopMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/stop",
    permission: "write",
    summary: "Shut it down cleanly, by force where it does not answer",
  },
  restartMachine: { method: "POST", path: "/v1/machines/{machine}/restart", permission: "write", summary: "Stop, then start" },
  pauseMachine: { method: "POST", path: "/v1/machines/{machine}/pause", permission: "write", summary: "Freeze it where it stands" },
  resumeMachine: { method: "POST", path: "/v1/machines/{machine}/resume", permission: "write", summary: "Let a paused machine go on" },
  standbyMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/standby",
    permission: "write",
    summary: "Put its memory on the disk until somebody wants something of it",
  },
  migrateMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/migrate",
    permission: "write",
    summary: "Bring it to another node while it runs",
  },
  cancelMigration: {
    method: "DELETE",
    path: "/v1/machines/{machine}/migrate",
    permission: "write",
    summary: "Leave it where it is",
  },
  exposeMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/exposures",
    permission: "write",
    summary: "Make a port reachable from outside",
  },
  unexposeMachine: {
    method: "DELETE",
    path: "/v1/machines/{machine}/exposures/{port}",
    permission: "write",
    summary: "Close an exposed port",
  },
  sshCertificate: {
    method: "POST",
    path: "/v1/machines/{machine}/ssh-certificate",
    permission: "shell",
    summary: "Sign a short-lived SSH user certificate",
  },
  mountVolume: {
    method: "POST",
    path: "/v1/machines/{machine}/mounts",
    permission: "write",
    summary: "Mount a volume or a folder in it, at once where that can be",
  },
  unmountVolume: {
    method: "DELETE",
    path: "/v1/machines/{machine}/mounts/{volume}",
    permission: "write",
    summary: "Take a volume away from it",
  },
  joinNetwork: { method: "POST", path: "/v1/machines/{machine}/networks", permission: "write", summary: "Bring it into a network" },
  leaveNetwork: {
    method: "DELETE",
    path: "/v1/machines/{machine}/networks/{network}",
    permission: "write",
    summary: "Take it out of a network",
  },
  machineProcesses: { method: "GET", path: "/v1/machines/{machine}/processes", permission: "read", summary: "What runs in it" },
  machineStats: {
    method: "GET",
    path: "/v1/machines/{machine}/stats",
    permission: "read",
    summary: "CPU, RAM and disk in use, as the machine sees them",
  },
  killMachine: {
    method: "POST",
    path: "/v1/machines/{machine}/kill",
    permission: "write",
    summary: "Send a signal to its workload",
  },
  renameMachine: { method: "POST", path: "/v1/machines/{machine}/rename", permission: "write", summary: "Give it another name" },
  machineAttach: {
    method: "GET",
    path: "/v1/machines/{machine}/attach",
    permission: "shell",
    summary: "Its workload's standard input",
    live: true,
  },
  machineLogs: {
    method: "GET",
    path: "/v1/machines/{machine}/logs",
    permission: "read",
    summary: "Console and workload output",
    live: true,
  },
  machineExec: { method: "GET", path: "/v1/machines/{machine}/exec", permission: "shell", summary: "Run a command in it", live: true },
  machineCopy: {
    method: "GET",
    path: "/v1/machines/{machine}/copy",
    permission: "shell",
    summary: "Files in or out, as a tar stream",
    live: true,
  },
  machineTunnel: {
    method: "GET",
    path: "/v1/machines/{machine}/tunnel",
    permission: "shell",
    summary: "A TCP connection to a port of it",
    live: true,
  },
  listSnapshots: { method: "GET", path: "/v1/machines/{machine}/snapshots", permission: "read", summary: "List a machine's snapshots" },
  createSnapshot: { method: "POST", path: "/v1/machines/{machine}/snapshots", permission: "write", summary: "Keep the disk as it is now" },
  restoreSnapshot: {
    method: "POST",
    path: "/v1/machines/{machine}/snapshots/{snapshot}/restore",
    permission: "write",
    summary: "Put the disk back; restarts the machine",
  },
  removeSnapshot: {
    method: "DELETE",
    path: "/v1/machines/{machine}/snapshots/{snapshot}",
    permission: "write",
    summary: "Remove a snapshot",
  },
  listVolumes: { method: "GET", path: "/v1/volumes", permission: "read", summary: "List volumes" },
  createVolume: { method: "POST", path: "/v1/volumes", permission: "write", summary: "Ask for a volume" },
  getVolume: { method: "GET", path: "/v1/volumes/{volume}", permission: "read", summary: "One volume, by name or id" },
  updateVolume: {
    method: "PATCH",
    path: "/v1/volumes/{volume}",
    permission: "write",
    summary: "Make a volume larger, or change its labels",
  },
  removeVolume: { method: "DELETE", path: "/v1/volumes/{volume}", permission: "write", summary: "Remove a volume that no machine uses" },
  pruneVolumes: { method: "POST", path: "/v1/volumes/prune", permission: "write", summary: "Remove every volume that no machine uses" },
  importVolume: {
    method: "GET",
    path: "/v1/volumes/{volume}/import",
    permission: "write",
    summary: "Replace what a volume holds by a tar archive",
    live: true,
  },
  listVolumeSnapshots: { method: "GET", path: "/v1/volumes/{volume}/snapshots", permission: "read", summary: "List a volume's snapshots" },
  createVolumeSnapshot: {
    method: "POST",
    path: "/v1/volumes/{volume}/snapshots",
    permission: "write",
    summary: "Keep the volume as it is now",
  },
  restoreVolumeSnapshot: {
    method: "POST",
    path: "/v1/volumes/{volume}/snapshots/{snapshot}/restore",
    permission: "write",
    summary: "Put back a volume that no running machine has",
  },
  removeVolumeSnapshot: {
    method: "DELETE",
    path: "/v1/volumes/{volume}/snapshots/{snapshot}",
    permission: "write",
    summary: "Remove a volume's snapshot",
  },
  listNetworks: { method: "GET", path: "/v1/networks", permission: "read", summary: "List networks and who is in them" },
  createNetwork: { method: "POST", path: "/v1/networks", permission: "write", summary: "Make a network" },
  getNetwork: { method: "GET", path: "/v1/networks/{network}", permission: "read", summary: "One network, by name or id" },
  removeNetwork: {
    method: "DELETE",
    path: "/v1/networks/{network}",
    permission: "write",
    summary: "Remove a network that no machine is in",
  },
  pruneNetworks: { method: "POST", path: "/v1/networks/prune", permission: "write", summary: "Remove every network that no machine is in" },
  listImages: { method: "GET", path: "/v1/images", permission: "read", summary: "List images" },
  getImage: { method: "GET", path: "/v1/images/{image}", permission: "read", summary: "One image: configuration, layers, history" },
  createImage: { method: "POST", path: "/v1/images", permission: "write", summary: "Make an image from a machine" },
  tagImage: { method: "POST", path: "/v1/images/{image}/tags", permission: "write", summary: "Give an image another name" },
  removeImage: { method: "DELETE", path: "/v1/images/{image}", permission: "write", summary: "Remove an image that no machine uses" },
  pruneImages: { method: "POST", path: "/v1/images/prune", permission: "write", summary: "Remove every image that no machine uses" },
  pullImage: {
    method: "GET",
    path: "/v1/images/pull",
    permission: "write",
    summary: "Bring an image in from a registry, with progress",
    live: true,
  },
  pushImage: {
    method: "GET",
    path: "/v1/images/push",
    permission: "write",
    summary: "Send an image to a registry, with progress",
    live: true,
  },
  listTemplates: { method: "GET", path: "/v1/templates", permission: "read", summary: "List the templates that machines go on from" },
  buildTemplate: {
    method: "POST",
    path: "/v1/templates",
    permission: "write",
    summary: "Make a template now, and answer when it is there",
  },
  removeTemplate: {
    method: "DELETE",
    path: "/v1/templates/{template}",
    permission: "write",
    summary: "Remove a template; machines made from it go on",
  },
  pruneTemplates: { method: "POST", path: "/v1/templates/prune", permission: "write", summary: "Remove every template" },
  listNodes: { method: "GET", path: "/v1/nodes", permission: "read", summary: "List nodes and their capacity" },
  addNode: { method: "POST", path: "/v1/nodes", permission: "write", summary: "Enrol a host; what it joins with is shown once" },
  removeNode: { method: "DELETE", path: "/v1/nodes/{node}", permission: "write", summary: "Take a node out, that has nothing any more" },
  listDevices: { method: "GET", path: "/v1/devices", permission: "read", summary: "Devices of nodes that machines can have" },
  listRuntimes: { method: "GET", path: "/v1/runtimes", permission: "read", summary: "What machines can run on, and what each can do" },
  drainNode: { method: "POST", path: "/v1/nodes/{node}/drain", permission: "write", summary: "Place no more machines on a node" },
  undrainNode: { method: "DELETE", path: "/v1/nodes/{node}/drain", permission: "write", summary: "Place machines on it again" },
  listCertificates: {
    method: "GET",
    path: "/v1/certificates",
    permission: "read",
    summary: "What vouches for users, machines and nodes",
  },
  listEvents: { method: "GET", path: "/v1/events", permission: "read", summary: "Events, oldest first" },
  watchEvents: { method: "GET", path: "/v1/events/watch", permission: "read", summary: "Events as they happen", live: true },
  watchChanges: {
    method: "GET",
    path: "/v1/watch",
    permission: "read",
    summary: "Events, and the machines that they made different, as they are now",
    live: true,
  },
  createLink: { method: "POST", path: "/v1/links", permission: "read", summary: "Make a link that signs one browser in, once" },
  openSession: { method: "POST", path: "/v1/sessions", permission: "open", summary: "Sign a browser in, by a link's code or a token" },
  listSessions: { method: "GET", path: "/v1/sessions", permission: "write", summary: "List the browsers that are signed in" },
  closeSession: {
    method: "DELETE",
    path: "/v1/sessions/{session}",
    permission: "read",
    summary: "Sign a browser out: this one (current), or any, as an admin",
  },
  listTokens: { method: "GET", path: "/v1/tokens", permission: "write", summary: "List API tokens" },
  createToken: { method: "POST", path: "/v1/tokens", permission: "write", summary: "Make an API token; its secret is shown once" },
  removeToken: { method: "DELETE", path: "/v1/tokens/{token}", permission: "write", summary: "Revoke an API token" },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;
export const OPERATION_NAMES = Object.keys(OPERATIONS) as OperationName[];

export function isMutation(operation: Operation): boolean {
  return operation.method !== "GET";
}

/** Fills the path's parameters. */
export function pathOf(name: OperationName, params: Record<string, string> = {}): string {
  return OPERATIONS[name].path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(params[key] ?? ""));
}
