/** What goes on, in words: the same in a terminal and in a browser. Pure. */
import { formatMib } from "../size.ts";
import type { Machine, Observed } from "./machine.ts";

type Doing = Pick<Machine, "destroying" | "observed" | "state" | "power"> & Partial<Pick<Machine, "migration">>;

/** A machine's state, or more nearly what its node is doing. */
export function doing({ destroying, observed, state, power, migration }: Doing): string {
  if (destroying) return "destroying";
  if (migration) return "moving";
  if (observed && ["preparing", "starting", "stopping"].includes(observed.phase)) return observed.phase;
  return state === "running" && power === "stopped" ? "stopping" : state;
}

/** An event's type without its version: "MachineRequested". */
export function eventName(type: string): string {
  return type.replace(/^v\d+\./, "");
}

/** An event's data in a line: of an observation what a person asks for, of the rest all that is short. */
export function describeEvent(data: unknown): string {
  const { observed, spec } = data as { observed?: Observed; spec?: Machine["spec"] };
  if (observed) return [observed.phase, observed.health, observed.exit, observed.reason].filter(Boolean).join(", ");
  if (spec) return `${spec.image}, ${spec.cpu} CPU, ${formatMib(spec.memoryMib)} RAM`;
  return Object.entries(data as object)
    .filter(([key, v]) => key !== "name" && key !== "hash" && typeof v !== "object")
    .map(([key, v]) => `${key} ${/At$/.test(key) && typeof v === "number" ? new Date(v).toISOString() : v}`)
    .join(", ");
}
