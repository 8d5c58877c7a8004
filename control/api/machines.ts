/** Operations on machines. Each records intent and nothing else: the reconciler acts on it. */
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import { parsePublicLine } from "#contract/wire/ssh.ts";
import type { Exposure, Power } from "#contract/resources/machine.ts";
import type { Verb } from "#contract/resources/states.ts";
import { usageByNode, whyNot } from "#control/schedule/place.ts";
import type { EventData, EventType, NewEvent, StoredMachine } from "#control/model/state.ts";
import { demand, machineOf, view, type Deps, type Handlers, type Request } from "./handler.ts";

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
  | "exposeMachine"
  | "unexposeMachine"
  | "sshCertificate"
  | "machineStats";

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
  createMachine({ store, newId }, { body, token }) {
    const taken = store.state.names.has(body.name);
    if (taken)
      throw new HyperlaneError("CONFLICT", `A machine named "${body.name}" is there already.`, {
        field: "name",
        hint: `\`vps show ${body.name}\` shows it; choose another name, or destroy it first.`,
      });
    checkImage(store.state, body.spec.image);
    const id = newId("m");
    return {
      events: [{ type: "v1.MachineRequested", subject: id, actor: token.id, data: body }],
      result: () => view(store.state.machine.get(id)!),
    };
  },
  getMachine: ({ store }, { params }) => view(machineOf(store.state, params)),
  updateMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    const { restart, labels = machine.labels, ...asked } = request.body;
    const spec = { ...machine.spec, ...asked };
    demand(machine, "scale");
    if (asked.image !== undefined) checkImage(deps.store.state, asked.image);
    checkFits(deps, machine, spec);
    const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
    const specSame = same(spec, machine.spec);
    const events: NewEvent[] = [];
    if (!specSame || !same(labels, machine.labels)) events.push(event(request, machine, "v1.MachineSpecChanged", { spec, labels }));
    const runs = machine.state === "running" || machine.state === "paused" || machine.state === "provisioning";
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
  exposeMachine(deps, request) {
    const machine = machineOf(deps.store.state, request.params);
    demand(machine, "expose");
    const { port, hostPort = port, protocol } = request.body;
    const want: Exposure = { port, hostPort, protocol };
    for (const other of deps.store.state.machine.values())
      for (const e of other.exposures)
        if (
          e.hostPort === hostPort &&
          e.protocol === protocol &&
          (other.id !== machine.id || e.port !== port) &&
          (other.node === machine.node || machine.node === null)
        )
          throw new HyperlaneError(
            "CONFLICT",
            `Port ${hostPort}/${protocol} of the node already leads to "${other.name}" port ${e.port}.`,
            { field: "hostPort", hint: "Choose another with --as." },
          );
    const there = machine.exposures.some((e) => e.port === port && e.hostPort === hostPort && e.protocol === protocol);
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
  sshCertificate({ store, ssh }, { params, body, token }) {
    const machine = machineOf(store.state, params);
    demand(machine, "tunnel");
    const key = parsePublicLine(body.publicKey);
    if (!key) throw new HyperlaneError("INVALID", "publicKey must be an OpenSSH ed25519 public key.", { field: "publicKey" });
    const { certificate, expiresAt } = ssh.signUser(key, machine.id, `${token.name}@${machine.name}`);
    return { events: [], result: () => ({ certificate, expiresAt, hostCa: ssh.hostCa, hostAlias: machine.id }) };
  },
  async machineStats({ store, connections }, { params }) {
    const machine = machineOf(store.state, params);
    demand(machine, "exec");
    return connections.stats(machine.node!, machine.id);
  },
};

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
  if (machine.power === to && !again) return write(deps, machine, []);
  const fresh = again || (to === "running" && machine.power === "stopped");
  return write(deps, machine, [event(request, machine, "v1.MachinePowerRequested", { power: to, epoch: machine.epoch + (fresh ? 1 : 0) })]);
}

function checkImage(state: Deps["store"]["state"], image: string): void {
  const all = [...state.image.values()];
  const found = all.find((i) => i.name === image);
  if (found?.state === "ready") return;
  if (found?.state === "creating")
    throw new HyperlaneError("STATE", `The image "${image}" is still being made.`, {
      field: "spec.image",
      hint: "`vps image list` shows when it is ready.",
    });
  // Before the first node has reported there is nothing to check against; the agent will.
  if (!found && !all.length) return;
  throw new HyperlaneError("NOT_FOUND", `There is no image "${image}".`, {
    field: "spec.image",
    hint: `There is: ${
      all
        .filter((i) => i.state === "ready")
        .map((i) => i.name)
        .sort()
        .join(", ") || "none yet"
    }.`,
  });
}

function checkFits({ store }: Deps, machine: StoredMachine, spec: StoredMachine["spec"]): void {
  const node = machine.node === null ? undefined : store.state.node.get(machine.node);
  if (!node?.status || (spec.cpu <= machine.spec.cpu && spec.memoryMib <= machine.spec.memoryMib)) return;
  const others = [...store.state.machine.values()].filter((m) => m.id !== machine.id);
  const why = whyNot(spec, { ...node, connected: true }, usageByNode(others).get(node.id));
  if (why !== null)
    throw new HyperlaneError(
      "NO_CAPACITY",
      `The node ${node.name} cannot hold "${machine.name}" with ${spec.cpu} CPU and ${formatMib(spec.memoryMib)} RAM: ${why}.`,
    );
}
