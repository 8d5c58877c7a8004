import { expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MachineSpec } from "#contract/resources/machine.ts";
import type { NewEvent } from "#control/model/state.ts";
import { FAKE_MACHINE_IMAGE } from "#tests/fake/host.ts";
import { openStore } from "./store.ts";

const requested = (n: number): NewEvent => ({
  type: "v1.MachineRequested",
  subject: `m-${n}`,
  actor: "t",
  data: { name: `vm${n}`, labels: {}, spec: MachineSpec.parse({}), image: FAKE_MACHINE_IMAGE, exposures: [], source: null },
});

function withFile(run: (path: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "hl-store-"));
  return run(join(dir, "db")).finally(() => rmSync(dir, { recursive: true }));
}

test("what was appended is there after the process is gone, and replays to the same state", () =>
  withFile(async (path) => {
    const first = openStore(path, () => 7);
    await Promise.all([
      first.append([requested(1)]),
      first.append([requested(2), { type: "v1.MachineDestroyRequested", subject: "m-1", actor: "t", data: {} }]),
    ]);
    first.close();
    const second = openStore(path, () => 8);
    expect([...second.state.machine.keys()].sort()).toEqual(["m-1", "m-2"]);
    expect(second.state.machine.get("m-1")!.destroying).toBe(true);
    expect(second.replay()).toEqual(second.state);
    expect(second.lastSeq).toBe(3);
    second.close();
  }));

test("appends of one turn commit together, and none resolves before its commit", async () => {
  const store = openStore(":memory:", () => 1);
  let commits = 0;
  store.subscribe(() => void commits++);
  await Promise.all(Array.from({ length: 50 }, (_, i) => store.append([requested(i)])));
  expect(commits).toBe(1);
  store.close();
});

test.each([
  ["a changed event", "UPDATE events SET data = replace(data, 'vm2', 'vmX') WHERE seq = 2", /event 2 does not follow/],
  ["a missing event", "DELETE FROM events WHERE seq = 2", /event 3 does not follow/],
  ["a cut tail", "DELETE FROM events WHERE seq = 3", /end of the log was lost/],
])("%s is noticed at start", (_, damage, message) =>
  withFile(async (path) => {
    const store = openStore(path, () => 1);
    await store.append([requested(1), requested(2), requested(3)]);
    store.close();
    const db = new Database(path);
    db.run(damage);
    db.close();
    expect(() => openStore(path, () => 1)).toThrow(message);
  }),
);
