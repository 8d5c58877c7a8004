/** Machines that boot a kernel of their own: nothing of ours is in them, so what only our init could do is refused, with the reason. */
import { HyperlaneError } from "#contract/errors.ts";
import type { MachineSpec } from "#contract/resources/machine.ts";
import { isBelow } from "#contract/resources/volume.ts";
import type { State } from "#control/model/state.ts";
import type { Verb } from "#contract/resources/states.ts";
import { capabilitiesOf } from "#runtimes/capabilities.ts";

type Asked = { name: string; spec: MachineSpec };

/** A kernel and a disk go together; files that no node would give are refused at once. */
export function checkKernel(state: State, { name, spec }: Asked): void {
  const { image, kernel, runtime } = spec;
  const disk = image.startsWith("/");
  if (!kernel && disk)
    throw new HyperlaneError("INVALID", `"${image}" is a disk, which is booted by a kernel of its own, and none is named.`, {
      field: "spec.kernel",
      hint: `Name one: vps up ${name} --kernel FILE --image ${image}`,
    });
  if (!kernel) return;
  if (!disk)
    throw new HyperlaneError("INVALID", `A kernel of its own boots a disk of its node, not the image "${image}".`, {
      field: "spec.image",
      hint: `Name one by its path: vps up ${name} --kernel ${kernel.path} --image /path/to/disk`,
    });
  if (capabilitiesOf(runtime).kind === "container")
    throw new HyperlaneError("UNSUPPORTED", `A machine on ${runtime} has no kernel of its own to boot.`, { field: "spec.runtime" });
  for (const [field, [what, unset]] of Object.entries(OF_INIT) as [keyof MachineSpec, [string, unknown]][])
    if (JSON.stringify(spec[field]) !== JSON.stringify(unset)) throw cannot({ name }, what, `spec.${field}`);
  const folders = [...state.node.values()].flatMap((n) => n.status?.folders ?? []);
  const file = [kernel.path, kernel.initramfs, image].find((path) => path !== null && !isBelow(path, folders));
  if (file != null)
    throw new HyperlaneError("UNSUPPORTED", `No node lets machines have ${file}.`, {
      field: file === image ? "spec.image" : "spec.kernel",
      hint: `There: hyperlane init --allow-folder ${file.slice(0, file.lastIndexOf("/")) || "/"}`,
    });
}

/** What init does at a machine's start; and the field where nobody asks for it. */
const OF_INIT = {
  env: ["give it an environment", {}],
  entrypoint: ["run a command", null],
  cmd: ["run a command", null],
  workdir: ["run something in a directory", null],
  user: ["run something as a user", null],
  hostname: ["give it a host name", null],
  healthcheck: ["check its health", null],
  tty: ["give it a terminal", false],
  stdin: ["give it a standard input", false],
  readOnly: ["make its root read-only", false],
  mounts: ["mount volumes or folders", []],
  idleS: ["get it ready to sleep", null],
} as const satisfies Partial<Record<keyof MachineSpec, readonly [string, unknown]>>;

const VERBS: Partial<Record<Verb, string>> = {
  exec: "run a command",
  copy: "copy files",
  kill: "send a signal",
  mount: "mount volumes",
  standby: "get it ready to sleep",
  migrate: "tell it of its new addresses",
  image: "tell its files from an image's",
};

export function demandInit(machine: Asked, verb: Verb): void {
  const what = VERBS[verb];
  if (machine.spec.kernel && what !== undefined) throw cannot(machine, what);
}

export function cannot({ name }: Pick<Asked, "name">, what: string, field?: string): HyperlaneError {
  return new HyperlaneError("UNSUPPORTED", `"${name}" boots a kernel of its own: nothing of ours is in it that could ${what}.`, {
    ...(field !== undefined && { field }),
    hint: `Its console is in \`vps logs ${name}\`; its ports are reached as ever: vps expose ${name} PORT`,
  });
}
