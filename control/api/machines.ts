/** Operations on machines. Each records intent and nothing else: the reconciler acts on it. */
import { HyperlaneError, invariant } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import { parsePublicLine } from "#contract/wire/ssh.ts";
import { addressOf } from "#contract/resources/device.ts";
import type { MachineImage } from "#contract/resources/image.ts";
import { signalNumber, tooLong, workloadOf } from "#contract/resources/workload.ts";
import type { Exposure, MachineSpec, Power, Source } from "#contract/resources/machine.ts";
import type { Verb } from "#contract/resources/states.ts";
import { usageByNode, whyNot } from "#control/schedule/place.ts";
import { imageNamed, type EventData, type EventType, type NewEvent, type State, type StoredMachine } from "#control/model/state.ts";
import { checkAbilities, demandAbility, keepsState } from "./capabilities.ts";
import { demand, machineOf, view, type Deps, type Handlers, type Request } from "./handler.ts";
import { cannot, checkKernel } from "./kernels.ts";
import { checkNetworks } from "./networks.ts";
import { readySnapshot } from "./snapshots.ts";
import { checkMounts } from "./volumes.ts";

type Names =
  | "listMachines"
  | "createMachine"
  | "getMachine"
  | "updateMachine"
  | "destroyMachine"
  | "startMachine"
  | "stopMachine"
  | "restartMachine"
  | "pauseMachine"
  | "resumeMachine"
  | "standbyMachine"
  | "exposeMachine"
  | "unexposeMachine"
  | "killMachine"
  | "renameMachine"
  | "sshCertificate"
  | "machineStats"
  | "machineProcesses";

export const machineHandlers: Pick<Handlers, Names> = {
  listMachines({ store }, { query }) {
    const [key, value] = query.label?.split(/=(.*)/s) ?? [];
    const fits = (m: StoredMachine) =>
      (query.state === undefined || m.state === query.state) &&
      (key === undefined || (value === undefined ? key in m.labels : m.labels[key] === value));
    // Sorted by name, which is also the cursor, so a page is right whatever was created or destroyed in between.
    const names = [...store.state.names.keys()].filter((n) => query.after === undefined || n > query.after).sort();
    const items = [];
    for (const name of names) {
      const machine = store.state.machine.get(store.state.names.get(name)!)!;
      if (!fits(machine)) continue;
      if (items.length === query.limit) return { items, next: items.at(-1)!.name };
      items.push(view(machine));
    }
    return { items, next: null };
  },
  createMachine({ store, newId, maxDiskMib }, { body, token }) {
    if (store.state.names.has(body.name)) throw nameTaken(body.name);
    if (maxDiskMib !== null && body.spec.diskMib > maxDiskMib)
      throw new HyperlaneError("INVALID", `spec.diskMib must be at most ${maxDiskMib}: this control plane makes no larger disks.`, {
        field: "spec.diskMib",
        hint: `Ask for ${formatMib(maxDiskMib)} or less.`,
      });
    const copied = body.source && copyOf(store.state, body.source);
    const spec = { ...body.spec, ...copied?.spec };
    checkKernel(store.state, { name: body.name, spec });
    const image = copied ? copied.image : spec.kernel ? null : imageFor(store.state, spec.image);
    checkWorkload(body.name, spec, image, copied !== null);
    for (const e of body.exposures) checkPort(store.state, e, null);
    checkMounts(store.state, spec.mounts, null);
    checkNetworks(store.state, spec.networks);
    checkRuntime(store.state, spec.runtime);
    checkDevices(store.state, spec.devices);
    const id = newId("m");
    const { start, ...asked } = body;
    const about = { subject: id, actor: token.id };
    const data = { ...asked, spec, image, source: copied?.source ?? null };
    return {
      events: [
        { type: "v1.MachineRequested", ...about, data },
        ...(start ? [] : [{ type: "v1.MachinePowerRequested" as const, ...about, data: { power: "stopped" as const, epoch: 1 } }]),
      ],
      result: () => view(store.state.machine.get(id)!),
    };
  },
  getMachine: ({ store }, { params }) => view(machineOf(store.state, params)),
  updateMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    const { restart, labels = machine.labels, ...asked } = request.body;
    const spec = { ...machine.spec, ...asked };
    demand(machine, "scale");
    if (asked.image !== undefined && spec.kernel) throw cannot(machine, "put an image in its place", "image");
    checkKernel(deps.store.state, { name: machine.name, spec });
    const image = asked.image === undefined ? machine.image : imageFor(deps.store.state, asked.image);
    checkWorkload(machine.name, spec, image, false);
    checkFits(deps, machine, spec);
    const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
    const specSame = same([spec, image], [machine.spec, machine.image]);
    const events: NewEvent[] = [];
    if (!specSame || !same(labels, machine.labels)) events.push(event(request, machine, "v1.MachineSpecChanged", { spec, labels, image }));
    const runs = machine.state !== "stopped" && machine.state !== "failed" && machine.state !== "requested";
    if (restart && runs && (machine.needsRestart || !specSame))
      events.push(event(request, machine, "v1.MachinePowerRequested", { power: machine.power, epoch: machine.epoch + 1 }));
    return write(deps, machine, events);
  },
  destroyMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    return write(deps, machine, machine.destroying ? [] : [event(request, machine, "v1.MachineDestroyRequested", {})]);
  },
  startMachine: (deps, request) => power(deps, request, "start", "running"),
  stopMachine: (deps, request) => power(deps, request, "stop", "stopped"),
  restartMachine: (deps, request) => power(deps, request, "restart", "running"),
  pauseMachine: (deps, request) => power(deps, request, "pause", "paused"),
  resumeMachine: (deps, request) => power(deps, request, "resume", "running"),
  standbyMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    demand(machine, "standby");
    demandAbility(machine, "memorySnapshots");
    if (machine.spec.devices.length) throw keepsState(machine);
    if (machine.power !== "running")
      throw new HyperlaneError("STATE", `Cannot put "${machine.name}" to standby: it is being ${machine.power}.`);
    if (machine.spec.mounts.some((m) => m.folder !== null))
      throw new HyperlaneError("UNSUPPORTED", `"${machine.name}" has a folder of its node mounted, which cannot be put to standby.`, {
        hint: `Stop it instead: vps stop ${machine.name}`,
      });
    return write(deps, machine, [event(request, machine, "v1.MachineStandbyRequested", request.body)]);
  },
  exposeMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    demand(machine, "expose");
    const { port, hostPort = port, protocol, hostIp } = request.body;
    const want: Exposure = { hostIp, port, hostPort, protocol };
    checkPort(deps.store.state, want, machine);
    const there = machine.exposures.some((e) => JSON.stringify(e) === JSON.stringify(want));
    return write(deps, machine, there ? [] : [event(request, machine, "v1.MachineExposed", want)]);
  },
  unexposeMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    const port = Number(request.params.port);
    return write(
      deps,
      machine,
      machine.exposures.some((e) => e.port === port) ? [event(request, machine, "v1.MachineUnexposed", { port })] : [],
    );
  },
  async killMachine({ store, connections }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "kill");
    await connections.signal(machine.node!, machine.id, signalNumber(body.signal)!);
    return {
      events: [{ type: "v1.MachineSignalled", subject: machine.id, actor: token.id, data: { signal: body.signal } }],
      result: () => view(store.state.machine.get(machine.id) ?? machine),
    };
  },
  renameMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    demand(machine, "rename");
    const { name } = request.body;
    if (name === machine.name) return write(deps, machine, []);
    if (deps.store.state.names.has(name)) throw nameTaken(name);
    return write(deps, machine, [event(request, machine, "v1.MachineRenamed", { name })]);
  },
  sshCertificate({ store, ssh }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "tunnel");
    if (machine.spec.kernel) throw cannot(machine, "let anybody in by a certificate");
    const key = parsePublicLine(body.publicKey);
    if (!key) throw new HyperlaneError("INVALID", "publicKey must be an OpenSSH ed25519 public key.", { field: "publicKey" });
    const { certificate, expiresAt } = ssh.signUser(key, machine.id, `${token.name}@${machine.name}`);
    return { events: [], result: () => ({ certificate, expiresAt, hostCa: ssh.hostCa, hostAlias: machine.id }) };
  },
  async machineProcesses({ store, connections }, { params }) {
    const machine = machineOf(store.state, params);
    demand(machine, "exec");
    return { ...(await connections.processes(machine.node!, machine.id)), next: null };
  },
  async machineStats({ store, connections }, { params }) {
    const machine = machineOf(store.state, params);
    demand(machine, "exec");
    return connections.stats(machine.node!, machine.id);
  },
};

/** What a machine that is to begin as another's snapshot has of that. */
function copyOf(state: State, asked: Source) {
  const { id, name, spec, image, node } = machineOf(state, { machine: asked.machine });
  const snapshot = readySnapshot(state, { id, name }, asked.snapshot);
  invariant(node !== null, "a snapshot is on a node");
  return { spec: { image: spec.image, kernel: spec.kernel, diskMib: spec.diskMib }, image, source: { machine: id, snapshot: snapshot.id } };
}

function nameTaken(name: string): HyperlaneError {
  return new HyperlaneError("CONFLICT", `A machine named "${name}" is there already.`, {
    field: "name",
    hint: `\`vps show ${name}\` shows it; choose another name, or destroy it first.`,
  });
}

function event<T extends EventType>(request: { token: { id: string } }, machine: StoredMachine, type: T, data: EventData[T]): NewEvent {
  return { type, subject: machine.id, actor: request.token.id, data } as NewEvent;
}

function write(deps: Deps, machine: StoredMachine, events: NewEvent[]) {
  return { events, result: () => view(deps.store.state.machine.get(machine.id)!) };
}

type PowerOperation = "startMachine" | "stopMachine" | "restartMachine" | "pauseMachine" | "resumeMachine";

function power(deps: Deps, request: Request<PowerOperation>, verb: Verb & ("start" | "stop" | "restart" | "pause" | "resume"), to: Power) {
  const machine = machineOf(deps.store.state, request.params);
  demand(machine, verb);
  if ((verb === "pause" || verb === "resume") && machine.power === "stopped")
    throw new HyperlaneError("STATE", `Cannot ${verb} the machine "${machine.name}": it is being stopped.`, {
      hint: `\`vps start ${machine.name}\` starts it again.`,
    });
  const ended = machine.state === "failed" || machine.observed?.phase === "exited" || machine.retryAt !== null;
  // Asking for what is already on its way is no news; what has ended, or a restart, begins a new epoch.
  const again = verb === "restart" || (to === "running" && ended);
  if (machine.power === to && !again)
    return write(deps, machine, machine.state === "standby" ? [event(request, machine, "v1.MachineWakeRequested", {})] : []);
  const fresh = again || (to === "running" && machine.power === "stopped");
  return write(deps, machine, [event(request, machine, "v1.MachinePowerRequested", { power: to, epoch: machine.epoch + (fresh ? 1 : 0) })]);
}

/** The image of that name as it is now, which the machine then keeps. */
export function imageFor(state: Deps["store"]["state"], name: string): MachineImage {
  const image = imageNamed(state, name);
  if (!image)
    throw new HyperlaneError("NOT_FOUND", `There is no image "${name}".`, {
      field: "spec.image",
      hint: `\`vps image pull ${name}\` brings it in; \`vps image list\` shows what there is.`,
    });
  const { state: is, digest, rootfs, run } = image;
  if (is !== "ready")
    throw new HyperlaneError(
      "STATE",
      is === "creating" ? `The image "${name}" is still being made.` : `The image "${name}" could not be made.`,
      {
        field: "spec.image",
        hint: "`vps image list` shows when it is ready.",
      },
    );
  if (digest === null || rootfs === null || run === null)
    throw new HyperlaneError("INVALID", `"${name}" is no image that a machine can be made from.`, { field: "spec.image" });
  return { digest, rootfs, run };
}

function checkWorkload(name: string, spec: MachineSpec, image: MachineImage | null, copy: boolean): void {
  const workload = workloadOf(name, spec, image);
  checkAbilities({ name, spec }, { ownInit: workload?.kind === "system", copy });
  if (spec.readOnly && workload?.kind === "system")
    throw new HyperlaneError("INVALID", `The image "${spec.image}" has an init of its own, which must be able to write to its root.`, {
      field: "spec.readOnly",
      hint: "Leave read-only out.",
    });
  if (!workload)
    throw new HyperlaneError("INVALID", `The image "${spec.image}" names no command to run.`, {
      field: "spec.cmd",
      hint: `Name one: vps run ${spec.image} COMMAND`,
    });
  const long = tooLong(workload);
  if (long) throw new HyperlaneError("TOO_LARGE", long, { field: "spec.env", hint: "Put large settings into a file of the image." });
}

/** Two ports clash where one of them is on every address, or both on the same. */
export function checkPort(state: Deps["store"]["state"], want: Exposure, machine: StoredMachine | null): void {
  for (const other of state.machine.values())
    for (const e of other.exposures) {
      const same = other.id === machine?.id && e.port === want.port;
      const meets = e.hostIp === null || want.hostIp === null || e.hostIp === want.hostIp;
      const node = machine?.node ?? null;
      if (e.hostPort !== want.hostPort || e.protocol !== want.protocol || same || !meets || (node !== null && other.node !== node))
        continue;
      throw new HyperlaneError(
        "CONFLICT",
        `Port ${want.hostPort}/${want.protocol} of the node already leads to "${other.name}" port ${e.port}.`,
        { field: "hostPort", hint: "Choose another port of the node." },
      );
    }
}

function checkRuntime(state: Deps["store"]["state"], runtime: string | null): void {
  const there = [...new Set([...state.node.values()].flatMap((n) => n.status?.runtimes ?? []))];
  if (runtime !== null && !there.includes(runtime))
    throw new HyperlaneError("UNSUPPORTED", `No node has the runtime "${runtime}".`, {
      field: "spec.runtime",
      hint: `There is: ${there.join(", ") || "none yet"}.${runtime === "docker" ? " A node with a Docker engine offers it: hyperlane init --docker SOCKET" : ""}`,
    });
}

/** One that no node could give is refused at once, with the reason; one that another machine has is waited for. */
function checkDevices(state: Deps["store"]["state"], devices: readonly string[]): void {
  for (const ref of devices) {
    const there = [...state.node.values()].flatMap((n) => n.status?.devices.filter((d) => d.address === addressOf(ref)) ?? []);
    if (there.some((d) => d.unavailable === null)) continue;
    const why = there[0]?.unavailable ?? "no node has it";
    throw new HyperlaneError("UNSUPPORTED", `${ref} cannot be handed to a machine: ${why}.`, {
      field: "spec.devices",
      hint: "`vps device list` shows what there is.",
    });
  }
}

function checkFits({ store }: Deps, machine: StoredMachine, spec: StoredMachine["spec"]): void {
  const node = machine.node === null ? undefined : store.state.node.get(machine.node);
  if (!node?.status || (spec.cpu <= machine.spec.cpu && spec.memoryMib <= machine.spec.memoryMib)) return;
  const others = [...store.state.machine.values()].filter((m) => m.id !== machine.id);
  const why = whyNot(spec, { ...node, connected: true, draining: false }, usageByNode(others, store.state.volume.values()).get(node.id));
  if (why !== null)
    throw new HyperlaneError(
      "NO_CAPACITY",
      `The node ${node.name} cannot hold "${machine.name}" with ${spec.cpu} CPU and ${formatMib(spec.memoryMib)} RAM: ${why}.`,
    );
}
