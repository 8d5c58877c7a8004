import { expect, test } from "bun:test";
import { createSecret } from "#control/auth/tokens.ts";
import { hyperfleet } from "#control/dialects/hyperfleet.ts";
import { openStore } from "#control/store/store.ts";
import type { Deps } from "./handler.ts";
import { startServer } from "./server.ts";
import { createSite } from "./site.ts";

const MIB = 2 ** 20;

test("a body of more than 1 MiB is refused as soon as that is seen, in our words and in another system's", async () => {
  const store = openStore(":memory:", Date.now);
  const { secret, hash } = createSecret();
  await store.append([{ type: "v1.TokenCreated", subject: "t-1", actor: "init", data: { name: "admin", role: "admin", hash } }]);
  const deps = { store, jwtSecret: null, now: Date.now, version: "0" } as Deps;
  const log = (): void => {};
  const dialects = [hyperfleet(deps, { open: false, log })];
  const server = startServer(deps, { hostname: "127.0.0.1", port: 0, dialects, site: createSite("/nowhere"), log });
  const post = async (path: string, body: string | ReadableStream): Promise<[number, unknown]> => {
    const headers = { authorization: `Bearer ${secret}` };
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method: "POST", headers, body });
    return [answer.status, await answer.json()];
  };
  let taken = 0;
  // Its length is not known beforehand, and it would go on for ever.
  const endless = () =>
    new ReadableStream({
      pull: async (to) => {
        taken += MIB / 4;
        to.enqueue(new Uint8Array(MIB / 4).fill(32));
        await Bun.sleep(5);
      },
    });
  try {
    const message = "The body is larger than 1 MiB.";
    for (const body of [" ".repeat(MIB + 1), endless()])
      expect(await post("/v1/machines", body)).toMatchObject([413, { code: "TOO_LARGE", message }]);
    for (const body of [" ".repeat(MIB + 1), endless()])
      expect(await post("/machines", body)).toMatchObject([413, { error: "ValidationError", message }]);
    expect(taken).toBeLessThan(64 * MIB);
    // One that just fits is read: it is no machine.
    expect((await post("/v1/machines", " ".repeat(MIB - 2) + "{}"))[0]).toBe(400);
    expect((await post("/machines", " ".repeat(MIB - 2) + "{}"))[0]).toBe(400);
  } finally {
    await server.stop(true);
    store.close();
  }
});
