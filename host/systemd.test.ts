import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { unit } from "./systemd.ts";

test("the units are what systemd takes, and machines outlive their agent", async () => {
  const dir = mkdtempSync(`${tmpdir()}/hl-units-`);
  try {
    for (const role of ["serve", "agent"] as const) {
      const path = `${dir}/hyperlane-${role}.service`;
      writeFileSync(path, unit(role, ["/bin/sh", "hyperlane"]));
      if (!Bun.which("systemd-analyze")) continue;
      const child = Bun.spawn(["systemd-analyze", "verify", "--man=no", path], {
        stdout: "pipe",
        stderr: "pipe",
        env: { PATH: process.env.PATH, SYSTEMD_LOG_LEVEL: "warning" },
      });
      const err = await new Response(child.stderr).text();
      expect(err.split("\n").filter((l) => l.includes(`hyperlane-${role}.service:`))).toEqual([]);
    }
    expect(unit("agent", ["/a b/hyperlane", "hyperlane"])).toContain('ExecStart="/a b/hyperlane" hyperlane agent\n');
    expect(unit("agent", ["x"])).toContain("KillMode=process\n");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
