/**
 * The node's images: `DIGEST.erofs` files that never change, and names.json, which says what each is called.
 * An image appears under its final name only when it is whole.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError } from "#contract/errors.ts";
import { readJson, writeFileDurably } from "#agent/host/files.ts";
import { run } from "#agent/host/run.ts";
import type { Storage } from "#agent/storage/storage.ts";

export type Images = ReturnType<typeof openImages>;
const Names = z.record(z.string(), z.object({ digest: z.string(), bytes: z.number() }));

export function openImages(dir: string) {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  for (const name of readdirSync(dir))
    if (name.endsWith(".new") || name.startsWith("work-")) rmSync(`${dir}/${name}`, { recursive: true, force: true });
  const file = (digest: string): string => `${dir}/${digest}.erofs`;
  const names = () => Names.catch({}).parse(readJson(`${dir}/names.json`) ?? {});
  const setNames = (next: z.infer<typeof Names>): void => writeFileDurably(`${dir}/names.json`, JSON.stringify(next), 0o644);

  /** Takes a finished EROFS file in under its digest. */
  async function adopt(name: string, path: string): Promise<{ digest: string; bytes: number }> {
    const digest = (await run(["sha256sum", "--", path], { timeoutMs: 600_000 })).slice(0, 64);
    const bytes = statSync(path).size;
    await run(["sync", "--", path]);
    renameSync(path, file(digest));
    setNames({ ...names(), [name]: { digest, bytes } });
    return { digest, bytes };
  }

  return {
    list: () =>
      Object.entries(names())
        .filter(([, i]) => existsSync(file(i.digest)))
        .map(([name, i]) => ({ name, ...i })),
    async path(name: string): Promise<string> {
      const image = names()[name];
      if (!image || !existsSync(file(image.digest)))
        throw new HyperlaneError("NOT_FOUND", `The image "${name}" is not on this node.`, { hint: "`vps image list` shows what is." });
      return file(image.digest);
    },
    /** Brings in an EROFS file from outside, unless that name is taken already. */
    async importFile(name: string, path: string): Promise<void> {
      if (names()[name]) return;
      copyFileSync(path, `${dir}/import.new`);
      await adopt(name, `${dir}/import.new`);
    },
    /**
     * An image from a machine's disk: its writable layer over its image, packed anew. The disk is a copy, mounted
     * read-only but for its journal, without devices or set-uid.
     */
    async fromDisk(
      name: string,
      base: string,
      storage: Storage,
      machine: string,
      snapshot: string,
    ): Promise<{ digest: string; bytes: number }> {
      const work = `${dir}/work-${snapshot}`;
      await using undo = new AsyncDisposableStack();
      undo.defer(() => rmSync(work, { recursive: true, force: true }));
      for (const sub of ["base", "disk", "root"]) mkdirSync(`${work}/${sub}`, { recursive: true, mode: 0o700 });
      await storage.exportSnapshot(machine, snapshot, `${work}/disk.raw`);
      const mount = async (argv: string[], target: string): Promise<void> => {
        await run(["mount", ...argv, target]);
        undo.defer(async () => void (await run(["umount", target])));
      };
      await mount(["-t", "erofs", "-o", "ro,loop,nosuid,nodev", base], `${work}/base`);
      await mount(["-t", "ext4", "-o", "loop,nosuid,nodev,noexec", `${work}/disk.raw`], `${work}/disk`);
      await mount(["-t", "overlay", "-o", `ro,lowerdir=${work}/disk/upper:${work}/base`, "overlay"], `${work}/root`);
      const excluded = [
        "etc/machine-id",
        "etc/resolv.conf",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "root/.bash_history",
      ];
      await run(["mkfs.erofs", "-zlz4", "--quiet", ...excluded.map((p) => `--exclude-path=${p}`), `${work}/image.new`, `${work}/root`], {
        timeoutMs: 600_000,
      });
      return await adopt(name, `${work}/image.new`);
    },
    remove(name: string): void {
      const { [name]: gone, ...rest } = names();
      if (!gone) return;
      setNames(rest);
      if (!Object.values(rest).some((i) => i.digest === gone.digest)) rmSync(file(gone.digest), { force: true });
    },
  };
}
