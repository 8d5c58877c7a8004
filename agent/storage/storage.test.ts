/** One suite for every kind of storage that this host has. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { run, which } from "#agent/host/run.ts";
import type { DesiredVolume } from "#contract/wire/agent.ts";
import { openStorage, type Storage } from "./storage.ts";
import { openVolumes } from "./volumes.ts";

const root = process.getuid?.() === 0;
const dir = mkdtempSync(`${tmpdir()}/hl-storage-`);
chmodSync(dir, 0o711); // volumes are lent to users without rights
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
  // A copy is another's, and depends on nothing.
  const copy = await again.cloneDisk("m-cccccccccccc", { id, snapshot: a }, 65533);
  expect([marked(copy), statSync(copy).uid, copy]).toEqual(["first", 65533, again.diskPath("m-cccccccccccc")]);
  await again.removeSnapshot(id, a);
  await again.removeSnapshot(id, a);
  expect(marked(again.diskPath(id))).toBe("second");
  await again.removeSnapshot(id, b);
  expect(marked(again.diskPath(id))).toBe("second");
  expect(marked(copy)).toBe("first");
  await again.remove("m-cccccccccccc");
  expect(again.list()).toEqual([id]);
  await again.remove(id);
  await again.remove(id);
  expect([again.list(), existsSync(path)]).toEqual([[], false]);
  await volumeSuite(await open(), `${dir}/volumes-${s.kind}`);
}

const [volume, first, second] = ["v-aaaaaaaaaaaa", "m-aaaaaaaaaaaa", "m-bbbbbbbbbbbb"];
const [uidA, uidB] = [65_531, 65_532];
const never = new AbortController().signal;

const want = (revision: number, more: Partial<DesiredVolume> = {}): DesiredVolume => ({
  id: volume,
  revision,
  present: true,
  made: revision > 1,
  sizeMib: 32,
  snapshots: [],
  restore: null,
  ...more,
});

function openVolumesIn(storage: Storage, dir: string) {
  const grown: string[] = [];
  const frozen: string[] = [];
  const volumes = openVolumes({
    recordsDir: `${dir}/records`,
    storage,
    workDir: `${dir}/work`,
    frozen: (machine, work) => (frozen.push(machine), work()),
    grown: (machine) => void grown.push(machine),
    log: () => {},
  });
  const until = async (holds: (seen: NonNullable<ReturnType<typeof volumes.observe>>) => boolean): Promise<void> => {
    for (const deadline = Date.now() + 10_000; ; await Bun.sleep(10)) {
      const seen = volumes.observe(volume);
      if (seen && holds(seen)) return;
      if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(seen)}`);
    }
  };
  return { volumes, grown, frozen, until };
}

/** Whether that user can read, or write, there. */
const can = (uid: number, what: "read" | "write", path: string): Promise<boolean> =>
  run([
    "setpriv",
    `--reuid=${uid}`,
    `--regid=${uid}`,
    "--clear-groups",
    "dd",
    "status=none",
    "bs=1",
    "count=1",
    ...(what === "read" ? [`if=${path}`, "of=/dev/null"] : ["if=/dev/zero", `of=${path}`, "conv=notrunc"]),
  ]).then(
    () => true,
    () => false,
  );

const markAt = (path: string, text: string): void => {
  const bytes = readFileSync(path);
  bytes.write(text.padEnd(8, "\0"), 20 * 2 ** 20);
  writeFileSync(path, bytes);
};
const markedAt = (path: string): string =>
  readFileSync(path)
    .toString("utf8", 20 * 2 ** 20, 20 * 2 ** 20 + 8)
    .replaceAll("\0", "");

/** What volumes hold, and who gets at it. dir: for records, and what exists for a while. */
async function volumeSuite(storage: Storage, dir: string): Promise<void> {
  let full = true;
  const filling: Storage = {
    ...storage,
    createDisk: (...how) => (full ? Promise.reject(new Error("no room")) : storage.createDisk(...how)),
  };
  const { volumes, grown, frozen, until } = openVolumesIn(filling, dir);
  volumes.apply(want(1));
  await until((seen) => seen.state === "failed");
  await expect(volumes.lend(volume, first, uidA, false, never)).rejects.toThrow("no room");
  // It is made once there is room for it, by whoever needs it next.
  full = false;
  const kept = () => storage.diskPath(volume);
  const mine = await volumes.lend(volume, first, uidA, false, never);
  expect([await can(uidA, "write", mine), await can(uidB, "read", mine), await can(uidA, "read", kept())]).toEqual([true, false, false]);
  expect([volumes.isFresh(volume), (volumes.use(volume), volumes.isFresh(volume))]).toEqual([true, false]);
  // Whoever comes next waits until it is given back.
  let late = "";
  const next = volumes.lend(volume, second, uidB, false, never).then((path) => (late = path));
  await Bun.sleep(50);
  expect(late).toBe("");
  markAt(mine, "first");
  volumes.apply(want(2, { snapshots: [a] }));
  await until((seen) => seen.snapshots[a]?.state === "ready");
  volumes.apply(want(3, { snapshots: [a], sizeMib: 64 }));
  await until((seen) => seen.sizeMib === 64);
  expect([frozen, grown]).toEqual([[first], [first]]);
  markAt(mine, "second");
  volumes.takeBack(volume, first);
  await next;
  expect([existsSync(mine), markedAt(late), await can(uidB, "write", late)]).toEqual([false, "second", true]);
  volumes.takeBack(volume, second);
  // Many may read, and none of them write.
  const readers = await Promise.all([volumes.lend(volume, first, uidA, true, never), volumes.lend(volume, second, uidB, true, never)]);
  expect(await Promise.all([can(uidA, "read", readers[0]), can(uidB, "read", readers[1])])).toEqual([true, true]);
  expect(await Promise.all([can(uidA, "write", readers[0]), can(uidB, "read", readers[0])])).toEqual([false, false]);
  const impatient = AbortSignal.timeout(100);
  await expect(volumes.lend(volume, "m-cccccccccccc", uidA, false, impatient)).rejects.toThrow();
  for (const machine of [first, second]) volumes.takeBack(volume, machine);
  const restore = { snapshot: a, epoch: 1 };
  volumes.apply(want(4, { snapshots: [a], sizeMib: 64, restore }));
  await until((seen) => seen.restoredEpoch === 1 && seen.sizeMib === 64);
  expect(markedAt(kept())).toBe("first");
  // An older document, come late, changes nothing; a new agent finds all as it was.
  volumes.apply(want(2, { present: false }));
  const again = openVolumesIn(storage, dir);
  expect(again.volumes.observe(volume)).toEqual(volumes.observe(volume)!);
  // What is lost is not made anew in silence.
  rmSync(kept());
  again.volumes.apply(want(5, { sizeMib: 64 }));
  await again.until((seen) => seen.state === "failed");
  expect([again.volumes.observe(volume)?.reason, existsSync(kept())]).toEqual(["Its disk is not on this node any more.", false]);
  again.volumes.apply(want(6, { present: false }));
  await again.until((seen) => seen.state === "absent");
  expect(openVolumesIn(storage, dir).volumes.ids()).toEqual([]);
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
