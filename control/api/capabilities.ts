/** What a machine's runtime cannot do is refused, with the reason; never done in some other way. */
import { HyperlaneError } from "#contract/errors.ts";
import type { MachineSpec } from "#contract/resources/machine.ts";
import { CAPABILITIES, capabilitiesOf, DEFAULT_RUNTIME, type Capabilities } from "#runtimes/capabilities.ts";

/** In the words of "a docker machine cannot ...". */
const CANNOT = {
  diskSnapshots: "keep its disk as it is",
  memorySnapshots: "keep its memory",
  ownInit: "run an image's own init",
  folders: "mount a folder of its node",
  moving: "move to another node while it runs",
  gpu: "be given a device of its node",
} as const satisfies Partial<Record<keyof Capabilities, string>>;
type Asked = { name: string; spec: MachineSpec };

/** field: of the request, where one asks for it. */
export function demandAbility(
  { name, spec: { runtime } }: Asked,
  ability: keyof typeof CANNOT,
  more: { field?: string; hint?: string } = {},
): void {
  if (capabilitiesOf(runtime)[ability]) return;
  const able = Object.entries(CAPABILITIES).flatMap(([other, can]) => (can[ability] ? [other] : []));
  throw new HyperlaneError("UNSUPPORTED", `"${name}" runs on ${runtime ?? DEFAULT_RUNTIME}, which cannot ${CANNOT[ability]}.`, {
    hint: `These can: ${able.join(", ")}.`,
    ...more,
  });
}

/** What a spec asks of its runtime. */
export function checkAbilities(machine: Asked, asks: { ownInit: boolean; copy: boolean }): void {
  const { spec } = machine;
  if (asks.ownInit)
    demandAbility(machine, "ownInit", {
      field: "spec.runtime",
      hint: `Leave the runtime out, or run a program of it: vps run --runtime ${spec.runtime} ${spec.image} COMMAND`,
    });
  if (asks.copy) demandAbility(machine, "diskSnapshots", { field: "source" });
  if (spec.mounts.some((m) => m.folder !== null)) demandAbility(machine, "folders", { field: "spec.mounts" });
  if (spec.devices.length) demandAbility(machine, "gpu", { field: "spec.devices" });
  if (spec.devices.length && spec.idleS !== null) throw keepsState(machine, "spec.idleS");
  if (spec.idleS !== null) demandAbility(machine, "memorySnapshots", { field: "spec.idleS" });
}

/** A device's own state is in no file. */
export function keepsState({ name, spec }: Asked, field?: string): HyperlaneError {
  return new HyperlaneError("UNSUPPORTED", `"${name}" has ${spec.devices.join(", ")}, whose state cannot be kept with its memory.`, {
    ...(field !== undefined && { field }),
    hint: "Stop it instead, or keep its disk alone.",
  });
}
