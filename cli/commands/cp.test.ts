import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { safeTarget } from "./cp.ts";

const root = mkdtempSync(`${tmpdir()}/hl-cp-`);
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("what a machine sends lands below the target, or nowhere", () => {
  mkdirSync(`${root}/dir`);
  symlinkSync("/etc", `${root}/link`);
  symlinkSync("/nowhere-yet", `${root}/dangling`);
  for (const name of ["a", "dir/a", "dir/./a", "a b/ä", ""]) expect(safeTarget(root, name).startsWith(root)).toBe(true);
  for (const name of ["../a", "dir/../../a", "/etc/passwd", "link/passwd", "dangling/a", "link/../../a"])
    expect(() => safeTarget(root, name)).toThrow("outside the target");
});

test("whatever the name", () => {
  const part = fc.oneof(fc.constantFrom("..", ".", "", "link", "dir", "/"), fc.string());
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      try {
        const target = safeTarget(root, parts.join("/"));
        expect(target === root || target.startsWith(`${root}/`)).toBe(true);
        expect(target.startsWith(`${root}/link/`)).toBe(false);
      } catch (error) {
        expect((error as Error).message).toContain("outside the target");
      }
    }),
  );
});
