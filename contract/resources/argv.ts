/** What a machine runs, by Docker's rules. Apart from workload.ts, so that a browser loads no more for it. Pure. */
import type { RunConfig } from "./image.ts";
import type { MachineSpec } from "./machine.ts";

/** Entrypoint and command. An entrypoint of one's own sets the image's command aside too. */
export function argvOf(spec: Pick<MachineSpec, "entrypoint" | "cmd">, image: { run: RunConfig } | null): string[] {
  if (!image) return [];
  const { run } = image;
  return [...(spec.entrypoint ?? run.entrypoint), ...(spec.cmd ?? (spec.entrypoint ? [] : run.cmd))];
}
