/** Browsers, as they really ask: over HTTP and WebSocket, with cookies, from pages of ours and of others. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createClient } from "#sdk/client.ts";
import { startFakeControl, type FakeControl } from "#tests/fake/control.ts";

let control: FakeControl;
beforeAll(async () => {
  control = await startFakeControl();
});
afterAll(() => control.close());

type Asked = { method?: string; body?: object; cookie?: string; origin?: string | null; site?: string };

async function ask(path: string, { method = "GET", body, cookie, origin, site }: Asked = {}) {
  const answer = await fetch(`${control.url}${path}`, {
    method,
    headers: {
      ...(cookie !== undefined && { cookie }),
      ...(origin !== null && method !== "GET" && { origin: origin ?? control.url }),
      ...(site !== undefined && { "sec-fetch-site": site }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const json = (await answer.json()) as { id: string; code?: string; name: string; role: string; session: { id: string } | null };
  return { status: answer.status, json, cookie: answer.headers.get("set-cookie") };
}

async function signIn(client = control.client): Promise<{ cookie: string; line: string; code: string }> {
  const { path } = await client.createLink();
  const code = path.split("#")[1]!;
  const { status, cookie: line } = await ask("/v1/sessions", { method: "POST", body: { code } });
  expect(status).toBe(200);
  return { cookie: line!.split(";")[0]!, line: line!, code };
}

test("a link signs in once; the cookie is of this server alone, out of scripts' reach, and says who asks", async () => {
  const { cookie, line, code } = await signIn();
  expect(line).toMatch(/^hyperlane_\d+=hl_[\w-]{43}; Path=\/v1; Max-Age=60\d{4}; HttpOnly; SameSite=Strict$/);
  expect((await ask("/v1/sessions", { method: "POST", body: { code } })).json.code).toBe("UNAUTHENTICATED");
  const { json } = await ask("/v1/whoami", { cookie });
  expect([json.name, json.role, json.session?.id]).toEqual(["admin", "admin", expect.stringMatching(/^b-/)]);
  expect((await ask("/v1/machines", { method: "POST", cookie, body: { name: "by-browser" } })).status).toBe(200);
  const { items } = await control.client.listEvents({ query: { last: 1000 } });
  expect(items.find((e) => e.type === "v1.MachineRequested")!.actor).toBe((await control.client.whoami()).id);
  expect(JSON.stringify([items, await control.client.listSessions()])).not.toContain(cookie.split("=")[1]!);
});

test("what another page asks in the browser's name is refused, and changes nothing", async () => {
  const { cookie } = await signIn();
  const body = { name: "forged" };
  for (const origin of ["http://127.0.0.1:8080", "http://evil.example", "null", null]) {
    expect((await ask("/v1/machines", { method: "POST", cookie, origin, body })).json.code).toBe("FORBIDDEN");
    expect((await ask("/v1/sessions", { method: "POST", cookie, origin, body: { token: control.token } })).json.code).toBe("FORBIDDEN");
  }
  expect((await ask("/v1/machines", { method: "POST", cookie, site: "same-site", body })).json.code).toBe("FORBIDDEN");
  for (const site of ["same-site", "cross-site"]) expect((await ask("/v1/machines", { cookie, site })).json.code).toBe("FORBIDDEN");
  expect((await ask("/v1/machines", { cookie, site: "none" })).status).toBe(200);
  expect(await control.client.getMachine({ params: { machine: "forged" } }).catch((e) => e.code)).toBe("NOT_FOUND");
  for (const [origin, opens] of [
    [control.url, true],
    ["http://127.0.0.1:8080", false],
    [undefined, false],
  ] as const) {
    const headers = { cookie, ...(origin && { origin }) };
    const ws = new WebSocket(`${control.url.replace("http", "ws")}/v1/watch`, { headers } as never);
    expect(await new Promise((done) => ((ws.onopen = () => done(true)), (ws.onerror = () => done(false))))).toBe(opens);
    ws.close();
  }
});

test("a session ends: signed out, with its token, by an admin; and does no more than its token", async () => {
  const out = await signIn();
  const left = await ask("/v1/sessions/current", { method: "DELETE", cookie: out.cookie });
  expect([left.status, left.cookie]).toEqual([200, expect.stringContaining("Max-Age=0")]);
  expect((await ask("/v1/whoami", { cookie: out.cookie })).json.code).toBe("UNAUTHENTICATED");

  const { secret } = await control.client.createToken({ body: { name: "viewer" } });
  const viewer = createClient({ url: control.url, token: secret });
  const [one, two, admin] = [await signIn(viewer), await signIn(viewer), await signIn()];
  expect((await ask("/v1/machines", { method: "POST", cookie: one.cookie, body: { name: "x" } })).json.code).toBe("FORBIDDEN");
  const { items } = await control.client.listSessions();
  const adminId = (await ask("/v1/whoami", { cookie: admin.cookie })).json.session!.id;
  expect((await ask(`/v1/sessions/${adminId}`, { method: "DELETE", cookie: one.cookie })).json.code).toBe("FORBIDDEN");
  const first = items.find((s) => s.name === "viewer")!;
  await control.client.closeSession({ params: { session: first.id } });
  const { path } = await viewer.createLink();
  await control.client.removeToken({ params: { token: "viewer" } });
  for (const { cookie } of [one, two]) expect((await ask("/v1/whoami", { cookie })).json.code).toBe("UNAUTHENTICATED");
  expect((await ask("/v1/sessions", { method: "POST", body: { code: path.split("#")[1] } })).json.code).toBe("UNAUTHENTICATED");
  expect((await control.client.listSessions()).items.some((s) => s.name === "viewer")).toBe(false);
});

test("what streams to a browser ends with its session", async () => {
  const { cookie } = await signIn();
  const ws = new WebSocket(`${control.url.replace("http", "ws")}/v1/watch`, { headers: { cookie, origin: control.url } } as never);
  await new Promise((done) => (ws.onopen = done));
  const closed = new Promise<number>((done) => (ws.onclose = (e) => done(e.code)));
  await ask("/v1/sessions/current", { method: "DELETE", cookie });
  expect(await closed).toBe(1008);
});

test("a token signs in as well; a wrong one, both or neither do not", async () => {
  expect((await ask("/v1/sessions", { method: "POST", body: { token: control.token } })).status).toBe(200);
  for (const [body, code] of [
    [{ token: "hl_wrong" }, "UNAUTHENTICATED"],
    [{ code: "wrong" }, "UNAUTHENTICATED"],
    [{}, "INVALID"],
    [{ token: control.token, code: "x" }, "INVALID"],
  ] as const)
    expect((await ask("/v1/sessions", { method: "POST", body })).json.code).toBe(code);
});

type Told = { seq: number; reset?: true; machines: { name: string; state: string }[]; gone: string[]; events: { seq: number }[] };

async function watch(after: number | undefined, until: (told: Told[]) => boolean): Promise<Told[]> {
  const told: Told[] = [];
  const done = Promise.withResolvers<void>();
  const stream = await control.client.stream(
    "watchChanges",
    { query: { after } },
    {
      message: () => {},
      text: (text) => (told.push(JSON.parse(text) as Told), until(told) && done.resolve()),
      close: (e) => done.reject(e ?? new Error("closed")),
    },
  );
  await done.promise;
  stream.close();
  return told;
}

test("changes come gathered, with what they are about as it is now, and go on after a break without a gap", async () => {
  const begin = (await watch(undefined, () => true))[0]!;
  expect(begin).toMatchObject({ events: [], machines: [], gone: [] });
  const watching = watch(begin.seq, (told) => told.some((t) => t.machines.some((m) => m.name === "w2" && m.state === "running")));
  for (const name of ["w1", "w2"]) await control.client.createMachine({ body: { name } });
  const told = await watching;
  const seqs = told.flatMap((t) => t.events.map((e) => e.seq));
  expect(seqs).toEqual(seqs.map((_, i) => begin.seq + 1 + i));
  expect(told.at(-1)!.seq).toBe(seqs.at(-1)!);
  const { id } = await control.client.destroyMachine({ params: { machine: "w1" } });
  const after = await watch(told.at(-1)!.seq, (t) => t.some((x) => x.gone.includes(id)));
  expect(after[0]!.reset).toBeUndefined();
  for (const far of [10_000_000, undefined]) expect((await watch(far, () => true))[0]!.reset ?? false).toBe(far !== undefined);
});
