import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { findToken } from "#control/auth/tokens.ts";
import { openStore } from "#control/store/store.ts";
import { initControl } from "./init.ts";

const dir = mkdtempSync(`${tmpdir()}/hl-init-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("init again changes nothing; a lost token is replaced, a new port kept, the CAs stay", async () => {
  const first = await initControl({ dir, nodeName: "one" });
  expect([first.url, first.agentAddress, first.secret?.startsWith("hl_")]).toEqual(["http://127.0.0.1:7420", "127.0.0.1:7421", true]);
  expect(statSync(`${dir}/control.json`).mode & 0o777).toBe(0o600);
  const ca = JSON.parse(readFileSync(`${dir}/control.json`, "utf8")).ca.cert as string;

  const again = await initControl({ dir, nodeName: "one", secret: first.secret! });
  expect([again.secret, again.node]).toEqual([null, first.node]);

  const moved = await initControl({ dir, nodeName: "one", secret: "hl_lost", port: 8000 });
  expect([moved.url, moved.node]).toEqual(["http://127.0.0.1:8000", first.node]);
  expect((await initControl({ dir, nodeName: "one", secret: moved.secret! })).url).toBe("http://127.0.0.1:8000");
  expect(JSON.parse(readFileSync(`${dir}/control.json`, "utf8")).ca.cert).toBe(ca);

  const store = openStore(`${dir}/hyperlane.db`, Date.now);
  expect([store.state.node.size, store.state.node.get(first.node)?.address]).toEqual([1, "127.0.0.1:8001"]);
  expect([findToken(store.state, first.secret!)?.name, findToken(store.state, moved.secret!)?.name]).toEqual(["admin", "admin-2"]);
  store.close();
});
