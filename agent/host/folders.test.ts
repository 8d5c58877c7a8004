import { afterAll, expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { openFolders } from "./folders.ts";

const root = process.getuid?.() === 0;
if (!root) console.log("SKIP agent/host/folders: it needs root");
const dir = mkdtempSync(`${tmpdir()}/hl-folders-`);
const folders = openFolders([`${dir}/allowed`], `${dir}/mounts`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test.skipIf(!root)(
  "a folder that is swapped for a link while it is looked at is never left through it",
  async () => {
    mkdirSync(`${dir}/allowed/x`, { recursive: true });
    writeFileSync(`${dir}/allowed/x/ours`, "");
    symlinkSync("/etc", `${dir}/allowed/link`);
    const swap = "while :; do mv -T x real; mv -T link x; mv -T x link; mv -T real x; done 2>/dev/null";
    const swapping = Bun.spawn(["sh", "-c", swap], { cwd: `${dir}/allowed`, stdio: ["ignore", "ignore", "ignore"] });
    let mounted = 0;
    try {
      for (let i = 0, deadline = Date.now() + 2_000; Date.now() < deadline; i++) {
        const at = await folders.open("m-a", 0, `${dir}/allowed/x`, i % 2 === 0).catch(() => undefined);
        if (at !== undefined) {
          expect([existsSync(`${at}/ours`), existsSync(`${at}/passwd`)]).toEqual([true, false]);
          mounted++;
        }
        await folders.close("m-a");
      }
    } finally {
      swapping.kill("SIGKILL");
      await swapping.exited;
    }
    expect(mounted).toBeGreaterThan(0);
    expect(existsSync(`${dir}/mounts/m-a`)).toBe(false);
    rmdirSync(`${dir}/mounts`);
  },
  30_000,
);

test.skipIf(!root)("only what is below an allowed folder, whatever its path looks like", async () => {
  mkdirSync(`${dir}/allowed/y`, { recursive: true });
  mkdirSync(`${dir}/allowedly`);
  symlinkSync(dir, `${dir}/allowed/up`);
  for (const [path, code] of [
    [`${dir}/allowedly`, "FORBIDDEN"],
    [`${dir}/allowed/../allowedly`, "FORBIDDEN"],
    [`${dir}/allowed/up`, "FORBIDDEN"],
    [`${dir}/allowed/up/allowedly`, "FORBIDDEN"],
    [`${dir}/allowed/none`, "NOT_FOUND"],
  ] as const)
    await expect(folders.open("m-b", 0, path, true)).rejects.toMatchObject({ code });
  const at = await folders.open("m-b", 0, `${dir}/allowed/up/allowed/y`, true);
  expect(() => writeFileSync(`${at}/f`, "")).toThrow(/EROFS/);
  await folders.close("m-b");
  expect(existsSync(`${dir}/allowed/y`)).toBe(true);
});

test.skipIf(!root)("a file is handed out open, and only one that is below an allowed folder", () => {
  writeFileSync(`${dir}/allowed/kernel`, "code");
  writeFileSync(`${dir}/secret`, "");
  symlinkSync(`${dir}/secret`, `${dir}/allowed/out`);
  symlinkSync("kernel", `${dir}/allowed/in`);
  for (const [path, code] of [
    [`${dir}/secret`, "FORBIDDEN"],
    [`${dir}/allowed/out`, "FORBIDDEN"],
    [`${dir}/allowed/none`, "NOT_FOUND"],
    [`${dir}/allowed`, "INVALID"],
  ] as const)
    expect(() => folders.openFile(path)).toThrow(expect.objectContaining({ code }));
  for (const name of ["kernel", "in"]) {
    const { fd, bytes } = folders.openFile(`${dir}/allowed/${name}`);
    expect([bytes, readFileSync(fd, "utf8")]).toEqual([4, "code"]);
    closeSync(fd);
  }
});
