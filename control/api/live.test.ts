/** Live streams over a real WebSocket, from a real server. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createClient } from "#sdk/client.ts";
import { startFakeControl, type FakeControl } from "#tests/fake/control.ts";

let control: FakeControl;
beforeAll(async () => {
  control = await startFakeControl({ cpu: 100, memoryMib: 100_000 });
});
afterAll(() => control.close());

type Seen = { seq: number; type: string };

async function watch(after: number | undefined, until: (seen: Seen[]) => boolean): Promise<Seen[]> {
  const seen: Seen[] = [];
  const done = Promise.withResolvers<void>();
  const stream = await control.client.stream(
    "watchEvents",
    { query: { after } },
    {
      message: () => {},
      text(text) {
        seen.push(JSON.parse(text) as Seen);
        if (until(seen)) done.resolve();
      },
      close: (e) => done.reject(e ?? new Error("closed")),
    },
  );
  await done.promise;
  stream.close();
  return seen;
}

test("events from any point on, without a gap or a double, while more are made", async () => {
  const watching = watch(0, (seen) => seen.filter((e) => e.type === "v1.MachineRequested").length === 40);
  for (let i = 0; i < 40; i++) await control.client.createMachine({ body: { name: `m${i}` } });
  const seen = await watching;
  expect(seen.map((e) => e.seq)).toEqual(seen.map((_, i) => i + 1));
  const from = seen.at(-10)!.seq;
  expect((await watch(from, (s) => s.length >= 9))[0]!.seq).toBe(from + 1);
});

test("a refused stream says why, as an ordinary call does", async () => {
  const on = { message: () => {}, close: () => {} };
  await expect(createClient({ url: control.url, token: "hl_wrong" }).stream("watchEvents", {}, on)).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
  });
  await expect(control.client.stream("machineLogs", { params: { machine: "nothing" } }, { ...on, close: () => {} })).resolves.toBeDefined();
  const reader = await control.client.createToken({ body: { name: "reader" } });
  const options = { params: { machine: "m0" }, query: { argv: '["true"]' } };
  await expect(createClient({ url: control.url, token: reader.secret }).stream("machineExec", options, on)).rejects.toMatchObject({
    code: "FORBIDDEN",
  });
});

test("a stream to a machine that is not there ends with the reason", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  await control.client.stream("machineLogs", { params: { machine: "nothing" } }, { message: () => {}, close: resolve });
  expect(await promise).toMatchObject({ code: "NOT_FOUND" });
});

test("what is no stream is not upgraded, what is one is not answered", async () => {
  const headers = { authorization: `Bearer ${control.token}` };
  expect((await fetch(`${control.url}/v1/events/watch`, { headers })).status).toBe(400);
  expect((await fetch(`${control.url}/v1/machines`, { method: "POST", headers, body: "x".repeat(2 ** 20 + 1) })).status).toBe(413);
  expect((await fetch(`${control.url}/docs`)).headers.get("content-type")).toBe("text/html; charset=utf-8");
});
