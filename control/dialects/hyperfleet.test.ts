import { expect, test } from "bun:test";
import type { Deps } from "#control/api/handler.ts";
import { createSecret } from "#control/auth/tokens.ts";
import { openStore } from "#control/store/store.ts";
import { hyperfleet } from "./hyperfleet.ts";

test("a token is asked for, unless its operator said that none is", async () => {
  const store = openStore(":memory:", Date.now);
  const { secret, hash } = createSecret();
  await store.append([{ type: "v1.TokenCreated", subject: "t-1", actor: "init", data: { name: "viewer", role: "viewer", hash } }]);
  const deps = { store, jwtSecret: null, now: Date.now, version: "0" } as Deps;
  const [closed, open] = [false, true].map((o) => hyperfleet(deps, { open: o, log: () => {} }));
  const ask = async (dialect: typeof open, path: string, headers = {}, method = "GET", body?: string): Promise<[number, unknown]> => {
    const request = new Request(`http://h${path}`, { method, headers, ...(body !== undefined && { body }) });
    const answer = (await dialect!(request, new URL(request.url)))!;
    return [answer.status, await answer.json()];
  };
  expect((await ask(closed, "/machines"))[0]).toBe(401);
  expect(await ask(closed, "/machines", { authorization: `Bearer ${secret}` })).toEqual([200, []]);
  expect(await ask(open, "/api/v1/machines")).toEqual([200, []]);
  expect((await ask(open, "/machines", { authorization: "Bearer wrong" }))[0]).toBe(401);
  // One that may only look makes nothing, and brings in no image.
  const create = JSON.stringify({ name: "x", image: "nowhere.invalid/none:1" });
  expect((await ask(closed, "/machines", { authorization: `Bearer ${secret}` }, "POST", create))[0]).toBe(403);
  expect(await ask(closed, "/health")).toEqual([200, { status: "ok" }]);
  expect(
    hyperfleet(deps, { open: false, log: () => {} })(new Request("http://h/v1/machines"), new URL("http://h/v1/machines")),
  ).toBeUndefined();
  store.close();
});
