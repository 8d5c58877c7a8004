/**
 * Folders of this host that machines mount: only below those that its operator allows, wherever links lead. Each is handed
 * out through a mount of our own, made of the very folder that was looked at: whoever can write there, another machine
 * perhaps, cannot put a link in its way in between. One to be read only cannot be written to, whatever the guest tries.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, realpathSync, rmdirSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { isBelow } from "#contract/resources/volume.ts";
import { run } from "./run.ts";

export type Folders = ReturnType<typeof openFolders>;

/** dir: where the mounts are. Nothing there is ever removed but empty folders. */
export function openFolders(allowed: readonly string[], dir: string) {
  async function close(machine: string): Promise<void> {
    const mine = `${dir}/${machine}`;
    for (const place of list(mine)) {
      await run(["umount", "--lazy", `${mine}/${place}`]).catch(() => {});
      rmdirSync(`${mine}/${place}`);
    }
    if (list(dir).includes(machine)) rmdirSync(mine);
  }
  /** Where it really is, and the folder that is allowed above it. */
  function below(path: string): { real: string; root: string } {
    const real = resolve(path);
    const root = allowed.map(resolve).find((a) => isBelow(real, [a]));
    if (root !== undefined) return { real, root };
    throw new HyperlaneError("FORBIDDEN", `"${path}" is not below a folder that machines may mount here.`, {
      hint: "hyperlane init --allow-folder DIR allows one.",
    });
  }
  return {
    /** What a machine's virtiofsd is to serve. */
    async open(machine: string, place: number, folder: string, readonly: boolean): Promise<string> {
      const { real, root } = below(folder);
      const at = `${dir}/${machine}/${place}`;
      mkdirSync(at, { recursive: true, mode: 0o700 });
      const fd = walk(root, real.slice(root.length).split("/").filter(Boolean), folder);
      try {
        // By the open folder itself, not by a path that mount(8) would look up again.
        await run(["mount", "--no-canonicalize", "--bind", "-o", readonly ? "ro" : "rw", "--", `/proc/${process.pid}/fd/${fd}`, at]);
      } finally {
        closeSync(fd);
      }
      return at;
    },
    /** A file to read from: open, to be closed by whoever asked. */
    openFile(path: string): { fd: number; bytes: number } {
      const { real, root } = below(path);
      const names = real.slice(root.length).split("/").filter(Boolean);
      const name = names.pop();
      const dir = walk(root, names, path);
      try {
        const fd = openSync(`/proc/self/fd/${dir}/${name ?? "."}`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        const { size } = fstatSync(fd);
        if (fstatSync(fd).isFile()) return { fd, bytes: size };
        closeSync(fd);
        throw new HyperlaneError("INVALID", `"${path}" is no file.`);
      } catch (cause) {
        if (cause instanceof HyperlaneError) throw cause;
        throw new HyperlaneError("NOT_FOUND", `There is no file "${path}" on this node.`, { cause });
      } finally {
        closeSync(dir);
      }
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
    return realpathSync(folder);
  } catch (cause) {
    throw missing(folder, cause);
  }
}

/** An open folder, gone down to from `root` without following a link: there was none a moment ago. */
function walk(root: string, names: readonly string[], folder: string): number {
  const how = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  let fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  for (const name of names) {
    const above = fd;
    try {
      fd = openSync(`/proc/self/fd/${above}/${name}`, how);
    } catch (cause) {
      throw missing(folder, cause);
    } finally {
      closeSync(above);
    }
  }
  return fd;
}

function missing(folder: string, cause: unknown): HyperlaneError {
  return new HyperlaneError("NOT_FOUND", `There is no folder "${folder}" on this node.`, { cause });
}
