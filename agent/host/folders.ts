/**
 * Folders of this host that machines mount: only below those that its operator allows, wherever links lead. One that is
 * only to be read is handed out through a mount that cannot be written to, whatever the guest tries.
 */
import { mkdirSync, readdirSync, realpathSync, rmdirSync, statSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { isBelow } from "#contract/resources/volume.ts";
import { run } from "./run.ts";

export type Folders = ReturnType<typeof openFolders>;

/** dir: where the mounts for reading are. Nothing there is ever removed but empty folders. */
export function openFolders(allowed: readonly string[], dir: string) {
  async function close(machine: string): Promise<void> {
    const mine = `${dir}/${machine}`;
    for (const place of list(mine)) {
      await run(["umount", "--lazy", `${mine}/${place}`]).catch(() => {});
      rmdirSync(`${mine}/${place}`);
    }
    if (list(dir).includes(machine)) rmdirSync(mine);
  }
  return {
    /** What a machine's virtiofsd is to serve. */
    async open(machine: string, place: number, folder: string, readonly: boolean): Promise<string> {
      const real = resolve(folder);
      if (!isBelow(real, allowed.map(resolve)))
        throw new HyperlaneError("FORBIDDEN", `"${folder}" is not below a folder that machines may mount here.`, {
          hint: "hyperlane init --allow-folder DIR allows one.",
        });
      if (!readonly) return real;
      const at = `${dir}/${machine}/${place}`;
      mkdirSync(at, { recursive: true, mode: 0o700 });
      await run(["mount", "--bind", "-o", "ro", "--", real, at]);
      return at;
    },
    close,
    /** Of machines that are no more. */
    async sweep(alive: (machine: string) => boolean): Promise<void> {
      for (const machine of list(dir)) if (!alive(machine)) await close(machine);
    },
  };
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function resolve(folder: string): string {
  try {
    const real = realpathSync(folder);
    if (statSync(real).isDirectory()) return real;
  } catch {
    // Said below.
  }
  throw new HyperlaneError("NOT_FOUND", `There is no folder "${folder}" on this node.`);
}
