/** What is asked of an init that is not there yet: in a machine that has just come, or that an agent has just found again. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { encodeFrame, FRAME_HEAD, FRAME_MAX, SYNC_MAGIC } from "#contract/wire/frames.ts";
import { encodeExit, F } from "#contract/wire/messages.ts";
import { openChannel } from "./channel.ts";

const dir = mkdtempSync(`${tmpdir()}/channel-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const SYNC_BYTES = FRAME_MAX + 2 * FRAME_HEAD + SYNC_MAGIC.length + 8;

/** Init, as far as a SYNC and one request with an answer go. */
function serveInit(path: string) {
  return createServer((s) => {
    let held = Buffer.alloc(0);
    let synced = false;
    s.on("error", () => {}).on("data", (bytes: Buffer) => {
      held = Buffer.concat([held, bytes]);
      if (!synced && held.length >= SYNC_BYTES) {
        s.write(held.subarray(SYNC_BYTES - SYNC_MAGIC.length - 8, SYNC_BYTES));
        held = held.subarray(SYNC_BYTES);
        synced = true;
      }
      if (!synced || held.length < FRAME_HEAD) return;
      const stream = held.readUInt32LE(4);
      s.write(encodeFrame({ stream, type: F.STDOUT, payload: Buffer.from("here") }));
      s.write(encodeFrame({ stream, type: F.EXIT, payload: encodeExit({ kind: "code", value: 0, text: "" }) }));
    });
  }).listen(path);
}

test("it is asked once it is there", async () => {
  const channel = openChannel({ path: `${dir}/late` }, () => {});
  const asked = channel.ask(F.STATS, Buffer.alloc(0), 5_000);
  await Bun.sleep(50);
  const init = serveInit(`${dir}/late`);
  try {
    expect((await asked).toString()).toBe("here");
  } finally {
    channel.close();
    init.close();
  }
});

test("one that never comes is given up, and at once where the machine is let go of", async () => {
  const channel = openChannel({ path: `${dir}/never` }, () => {});
  await expect(channel.ask(F.STATS, Buffer.alloc(0), 30)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const asked = channel.ask(F.STATS, Buffer.alloc(0), 60_000);
  channel.close();
  await expect(asked).rejects.toMatchObject({ code: "UNAVAILABLE" });
});
