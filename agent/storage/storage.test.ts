/** One suite for every kind of storage that this host has. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { run, which } from "#agent/host/run.ts";
import { openStorage, type Storage } from "./storage.ts";

const root = process.getuid?.() === 0;
const dir = mkdtempSync(`${tmpdir()}/hl-storage-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const [id, a, b] = ["m-aaaaaaaaaaaa", "s-aaaaaaaaaaaa", "s-bbbbbbbbbbbb"];

/** The end of the disk is ours to write on: ext4 has nothing there. */
const mark = (s: Storage, text: string): void => {
  const bytes = readFileSync(s.diskPath(id));
  bytes.write(text, bytes.length - 16);
  writeFileSync(s.diskPath(id), bytes);
};
const marked = (path: string): string => readFileSync(path).subarray(-16).toString().replaceAll("\0", "");

const answers = (): Promise<boolean> =>
  run(["zpool", "list"]).then(
    () => true,
    () => false,
  );

async function suite(open: () => Promise<Storage>): Promise<void> {
  const s = await open();
  const path = await s.createDisk(id, 32, 65534);
  expect([statSync(path).size, statSync(path).uid]).toEqual([32 * 2 ** 20, 65534]);
  mark(s, "first");
  expect(await s.createDisk(id, 32, 65534)).toBe(path);
  expect(marked(path)).toBe("first");
  await s.snapshot(id, a);
  mark(s, "second");
  expect(await s.snapshot(id, b)).toBeGreaterThan(0);
  mark(s, "third");
  await s.restore(id, a, 65534);
  expect(marked(s.diskPath(id))).toBe("first");
  // What came after it is still there to go to, also for an agent that has just started.
  const again = await open();
  await again.restore(id, b, 65534);
  expect([marked(again.diskPath(id)), statSync(again.diskPath(id)).uid]).toEqual(["second", 65534]);
  await again.exportSnapshot(id, a, `${dir}/export.raw`);
  expect(marked(`${dir}/export.raw`)).toBe("first");
  await again.removeSnapshot(id, a);
  await again.removeSnapshot(id, a);
  expect(marked(again.diskPath(id))).toBe("second");
  await again.removeSnapshot(id, b);
  expect(marked(again.diskPath(id))).toBe("second");
  expect(again.list()).toEqual([id]);
  await again.remove(id);
  await again.remove(id);
  expect([again.list(), existsSync(path)]).toEqual([[], false]);
}

describe("storage", () => {
  test.skipIf(!root)("plain files", () => suite(() => openStorage(`${dir}/files`, null)), 60_000);

  const xfs = root && which("mkfs.xfs") !== null && readFileSync("/proc/filesystems", "utf8").includes("\txfs\n");
  if (!xfs) console.log("SKIP agent/storage with reflinks: it needs root, xfsprogs and XFS in the kernel");
  test.skipIf(!xfs)(
    "files that share their blocks (XFS)",
    async () => {
      mkdirSync(`${dir}/xfs`);
      writeFileSync(`${dir}/xfs.img`, "");
      truncateSync(`${dir}/xfs.img`, 2 * 2 ** 30);
      await run(["mkfs.xfs", "-q", `${dir}/xfs.img`]);
      await run(["mount", "-o", "loop", `${dir}/xfs.img`, `${dir}/xfs`]);
      try {
        expect((await openStorage(`${dir}/xfs/disks`, null)).kind).toBe("reflink");
        await suite(() => openStorage(`${dir}/xfs/disks`, null));
      } finally {
        await run(["umount", `${dir}/xfs`]);
      }
    },
    60_000,
  );

  test.skipIf(!root)("a disk that would not fit is refused before anything is made", async () => {
    mkdirSync(`${dir}/tiny`);
    await run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", `${dir}/tiny`]);
    try {
      const s = await openStorage(`${dir}/tiny/disks`, null);
      await expect(s.createDisk(id, 32, 65534)).rejects.toMatchObject({ code: "NO_SPACE" });
      expect(s.list()).toEqual([]);
    } finally {
      await run(["umount", `${dir}/tiny`]);
    }
  });

  const zfs = root && which("zfs-fuse") !== null && existsSync("/dev/fuse");
  if (!zfs) console.log("SKIP agent/storage on ZFS: it needs root, zfs-fuse and /dev/fuse");
  test.skipIf(!zfs)(
    "ZFS",
    async () => {
      // One daemon serves a host: where it runs already, that is the one.
      const daemon = (await answers()) ? undefined : Bun.spawn(["zfs-fuse", "--no-daemon"], { stdio: ["ignore", "ignore", "ignore"] });
      const pool = `hltest${process.pid}`;
      try {
        for (
          let i = 0;
          i < 100 &&
          !(await run(["zpool", "list"]).then(
            () => true,
            () => false,
          ));
          i++
        )
          await Bun.sleep(50);
        writeFileSync(`${dir}/pool.img`, "");
        truncateSync(`${dir}/pool.img`, 512 * 2 ** 20);
        await run(["zpool", "create", pool, `${dir}/pool.img`]);
        await suite(() => openStorage(`${dir}/zfs`, pool));
        expect((await run(["zfs", "list", "-H", "-o", "name", "-t", "all", "-r", pool])).trim()).toBe(pool);
      } finally {
        await run(["zpool", "destroy", "-f", pool]).catch(() => {});
        daemon?.kill();
        await daemon?.exited;
      }
    },
    120_000,
  );
});
