/**
 * Machines' disks on ZFS: nothing is ever copied. POOL/ID holds a machine; its disk lives in a generation below it,
 * POOL/ID/1, and each restore clones the snapshot into the next one, so that snapshots taken since stay what they
 * were. The highest generation is the one in use: making a clone is atomic, and so is going back.
 */
import { chownSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { run } from "#agent/host/run.ts";
import { copyDisk, fileOf, fill, growFile, space, type Storage } from "./storage.ts";

/** A file system just unmounted may still be let go of. */
const BUSY_MS = 5_000;

export async function openZfs(dir: string, pool: string): Promise<Storage> {
  const mountpoint = await run(["zfs", "get", "-H", "-o", "value", "mountpoint", pool]).catch((cause) => {
    throw new HyperlaneError("NOT_FOUND", `There is no ZFS pool or dataset "${pool}": ${(cause as Error).message}`, {
      hint: "`zpool list` shows the pools; `hyperlane init --zpool POOL` chooses one.",
      cause,
    });
  });
  const names = (type: "filesystem" | "snapshot", below: string): Promise<string[]> =>
    run(["zfs", "list", "-H", "-r", "-t", type, "-o", "name", below]).then(
      (out) => out.split("\n").filter(Boolean),
      () => [],
    );
  const home = (id: string): string => `${pool}/${id}`;
  const generationOf = (name: string): number => Number(/\/(\d+)(?:@|$)/.exec(name)?.[1] ?? 0);
  /** Generations with a mounted disk are folders; reading them needs no process. */
  const current = (id: string): number =>
    existsSync(`${dir}/${id}`) ? Math.max(0, ...readdirSync(`${dir}/${id}`).map(Number).filter(Boolean)) : 0;
  const diskPath = (id: string): string => fileOf(`${dir}/${id}/${current(id)}`, id);
  const find = async (id: string, snapshot: string): Promise<string | undefined> =>
    (await names("snapshot", home(id))).find((n) => n.endsWith(`@${snapshot}`));

  async function must(id: string, snapshot: string): Promise<string> {
    const name = await find(id, snapshot);
    if (!name) throw new HyperlaneError("NOT_FOUND", `The snapshot ${snapshot} is not in the pool ${pool}.`);
    return name;
  }

  async function destroy(argv: string[]): Promise<void> {
    for (const deadline = Date.now() + BUSY_MS; ; await Bun.sleep(100)) {
      const failed = await run(["zfs", "destroy", ...argv]).then(
        () => undefined,
        (e: Error) => e,
      );
      if (!failed || /does not exist/.test(failed.message)) return;
      if (!/busy/.test(failed.message) || Date.now() > deadline) throw failed;
    }
  }

  /** Older generations that hold no snapshot any more. */
  async function prune(id: string): Promise<void> {
    const kept = new Set((await names("snapshot", home(id))).map(generationOf));
    for (const name of await names("filesystem", home(id))) {
      const generation = generationOf(name);
      if (generation === 0 || generation === current(id) || kept.has(generation)) continue;
      await destroy([name]);
      rmSync(`${dir}/${id}/${generation}`, { recursive: true, force: true });
    }
  }

  async function makeHome(id: string): Promise<void> {
    if (!(await names("filesystem", home(id))).length) {
      mkdirSync(`${dir}/${id}`, { recursive: true, mode: 0o711 });
      await run(["zfs", "create", "-o", `mountpoint=${dir}/${id}`, "-o", "compression=on", "-o", "atime=off", home(id)]);
    }
    if (!(await names("filesystem", `${home(id)}/1`)).length) await run(["zfs", "create", `${home(id)}/1`]);
  }

  async function exportSnapshot(id: string, snapshot: string, to: string): Promise<void> {
    const clone = `${home(id)}/export`;
    await destroy([clone]);
    await run(["zfs", "clone", await must(id, snapshot), clone]);
    try {
      await run(["cp", "--sparse=always", fileOf(`${dir}/${id}/export`, id), `${to}.new`], { timeoutMs: 600_000 });
      await run(["sync", "--", `${to}.new`]);
      renameSync(`${to}.new`, to);
    } finally {
      await destroy([clone]);
      rmSync(`${dir}/${id}/export`, { recursive: true, force: true });
    }
  }

  return {
    kind: "zfs",
    diskPath,
    has: (id) => existsSync(diskPath(id)),
    async createDisk(id, mib, uid, content = null) {
      await makeHome(id);
      if (!existsSync(diskPath(id))) await fill(dir, diskPath(id), id, mib, uid, content);
      else chownSync(diskPath(id), uid, uid);
      return diskPath(id);
    },
    async cloneDisk(id, from, uid) {
      await makeHome(id);
      if (!existsSync(diskPath(id))) await exportSnapshot(from.id, from.snapshot, diskPath(id));
      chownSync(diskPath(id), uid, uid);
      return diskPath(id);
    },
    async importDisk(id, from, mib, uid) {
      await makeHome(id);
      await copyDisk(from, diskPath(id), mib, uid);
      return diskPath(id);
    },
    async snapshot(id, snapshot) {
      if (!(await find(id, snapshot))) {
        await run(["sync", "--", diskPath(id)]);
        await run(["zfs", "snapshot", `${home(id)}/${current(id)}@${snapshot}`]);
      }
      return Number((await run(["zfs", "get", "-Hp", "-o", "value", "referenced", await must(id, snapshot)])).trim());
    },
    async restore(id, snapshot, uid) {
      await run(["zfs", "clone", await must(id, snapshot), `${home(id)}/${current(id) + 1}`]);
      chownSync(diskPath(id), uid, uid);
      await prune(id);
    },
    grow: (id, mib) => growFile(diskPath(id), mib),
    async removeSnapshot(id, snapshot) {
      const name = await find(id, snapshot);
      // What a generation was cloned from goes when that generation does.
      if (name) await destroy(["-d", name]);
      await prune(id);
    },
    exportSnapshot,
    async remove(id) {
      if ((await names("filesystem", home(id))).length) await destroy(["-R", home(id)]);
      rmSync(`${dir}/${id}`, { recursive: true, force: true });
    },
    list: () => readdirSync(dir).filter((n) => /^m-[a-z0-9]{12}$/.test(n)),
    space: () => space(existsSync(mountpoint.trim()) ? mountpoint.trim() : dir),
  };
}
