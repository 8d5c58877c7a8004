/** The web UI in a real browser, against the real control plane with pretended machines, whose failures are chosen by their names. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import type { Browser, Page } from "playwright-core";
import { can, MACHINE_STATES, type MachineState } from "#contract/resources/states.ts";
import type { MachineCreate } from "#contract/resources/machine.ts";
import { importRootfs } from "#oci/archive.ts";
import { createRegistry } from "#oci/client.ts";
import { createClient } from "#sdk/client.ts";
import { startFakeControl, type FakeControl } from "#tests/fake/control.ts";
import { startRegistry, WHY_NO_REGISTRY } from "#tests/oci/peers.ts";
import { launch, openTab, signIn, WHY_NOT, type Tab } from "./browser.ts";
import type { z } from "zod";

const AXE = readFileSync(Bun.resolveSync("axe-core/axe.min.js", import.meta.dir), "utf8");

if (WHY_NOT) console.log(`SKIP tests/web/ui: ${WHY_NOT}`);
else if (WHY_NO_REGISTRY) console.log(`SKIP tests/web/ui, pulling only: ${WHY_NO_REGISTRY}`);

describe.skipIf(WHY_NOT !== null)("web UI", () => {
  let control: FakeControl;
  let browser: Browser;
  let tab: Tab;
  const machine = (body: z.input<typeof MachineCreate>) => control.client.createMachine({ body });
  const until = async (name: string, state: MachineState): Promise<void> => {
    for (const deadline = Date.now() + 20_000; ; await Bun.sleep(20)) {
      const m = await control.client.getMachine({ params: { machine: name } }).catch(() => ({ state: "destroyed" }));
      if (m.state === state) return;
      if (Date.now() > deadline) throw new Error(`${name} is still ${m.state}, not ${state}`);
    }
  };
  const go = async (page: Page, path: string): Promise<void> => void (await page.goto(`${control.url}/web${path}`));

  beforeAll(async () => {
    control = await startFakeControl({ cpu: 64, memoryMib: 256 * 1024, stepMs: 30, guests: true });
    browser = await launch();
    await Promise.all([
      machine({ name: "api-prod", labels: { team: "core" } }),
      machine({ name: "db", labels: { team: "data" }, exposures: [{ port: 5432, hostPort: 15432, protocol: "tcp" }] }),
      machine({ name: "fail-boot-1", spec: { restart: "no" } }),
    ]);
    await control.client.createVolume({ body: { name: "pgdata" } });
    await control.client.createNetwork({ body: { name: "back" } });
    await Promise.all([until("api-prod", "running"), until("db", "running"), until("fail-boot-1", "failed")]);
    await control.client.createSnapshot({ params: { machine: "api-prod" }, body: { name: "before" } });
    tab = await signIn(browser, control);
  });
  afterAll(async () => {
    await browser?.close();
    control?.close();
  });

  test("a link signs in once, and nothing of it stays behind; a token does too; the way out ends it", async () => {
    const { page, context } = await openTab(browser);
    const { path } = await control.client.createLink();
    await go(page, path.replace("/web", ""));
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    const kept = await page.evaluate(() =>
      [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join(" "),
    );
    expect(kept).not.toContain(path.split("#")[1]!);
    expect(kept).not.toContain("hl_");
    const [cookie] = await context.cookies(`${control.url}/v1`);
    expect([cookie?.httpOnly, cookie?.sameSite, cookie?.path]).toEqual([true, "Strict", "/v1"]);

    const second = await openTab(browser);
    await go(second.page, path.replace("/web", ""));
    await second.page.getByText("This link is used or too old.").waitFor();
    await second.page.getByLabel("Or an API token").fill("hl_wrong");
    await second.page.getByRole("button", { name: "Sign in" }).click();
    await second.page.getByText("The API token is not valid.").waitFor();
    await second.page.getByLabel("Or an API token").fill(control.token);
    await second.page.getByRole("button", { name: "Sign in" }).click();
    await second.page.getByRole("heading", { name: "Overview" }).waitFor();

    // Signed in already, an old link keeps nobody out.
    await go(page, path.replace("/web", ""));
    await page.reload();
    await page.getByText("This link is used or too old.").waitFor();
    await page.getByRole("link", { name: "Go on as whoever is signed in here" }).click();
    await page.getByRole("heading", { name: "Overview" }).waitFor();

    await second.page.getByRole("link", { name: "Settings" }).click();
    await second.page.getByText("since").first().waitFor();
    // Signed out from elsewhere, a page that is open says so at once.
    const { items } = await control.client.listSessions();
    const whose = await page.evaluate(() => fetch("/v1/whoami").then((r) => r.json() as Promise<{ session: { id: string } }>));
    expect(items.map((s) => s.id)).toContain(whose.session.id);
    await control.client.closeSession({ params: { session: whose.session.id } });
    await page.getByRole("heading", { name: "Sign in to Hyperlane" }).waitFor();
    await second.page.getByRole("button", { name: "Sign out" }).first().click();
    await second.page.getByRole("heading", { name: "Sign in to Hyperlane" }).waitFor();
    await Promise.all([context.close(), second.context.close()]);
  }, 60_000);

  test("its answers let nothing in but itself, and a viewer changes nothing", async () => {
    const answer = await fetch(`${control.url}/web/machines/api-prod`);
    const policy = answer.headers.get("content-security-policy")!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain("unsafe");
    const nonces = await Promise.all(
      [1, 2].map(async () => /'nonce-([^']+)'/.exec((await fetch(`${control.url}/web/`)).headers.get("content-security-policy")!)![1]),
    );
    expect(nonces[0]).not.toBe(nonces[1]);
    for (const path of ["/web/assets/../../control.json", "/web/assets/%2e%2e/x", "/web/assets/none.js"])
      expect((await fetch(`${control.url}${path}`)).headers.get("content-type")).not.toContain("javascript");

    const { secret } = await control.client.createToken({ body: { name: "looker" } });
    const looker = await signIn(browser, { url: control.url, client: createClient({ url: control.url, token: secret }) });
    await go(looker.page, "/machines/api-prod");
    const stop = looker.page.getByRole("button", { name: "Stop" });
    expect(await stop.getAttribute("aria-disabled")).toBe("true");
    await stop.hover();
    await looker.page.getByText("Your role is viewer, which only looks").waitFor();
    await stop.click({ force: true });
    expect((await control.client.getMachine({ params: { machine: "api-prod" } })).power).toBe("running");
    expect(looker.problems).toEqual([]);
    await looker.context.close();
  }, 60_000);

  test("a machine is created, watched, stopped and destroyed; what is wished is shown at once", async () => {
    const { page } = tab;
    await go(page, "/machines");
    await page.getByRole("link", { name: "api-prod" }).waitFor();
    await page.keyboard.press("c");
    await page.getByLabel("Name").fill("Web_1");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page
      .getByText(/must be lower-case letters/)
      .first()
      .waitFor();
    await page.getByLabel("Name").fill("web-1");
    await page.getByRole("button", { name: /^More/ }).click();
    await page.getByLabel("Labels").fill("team=web");
    await page.getByText("vps up web-1 --label team=web").waitFor();
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.waitForURL("**/web/machines/web-1");
    await page.getByRole("heading", { name: "web-1" }).waitFor();
    await page.getByText("running", { exact: true }).first().waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("stopped", { exact: true }).first().waitFor();
    await until("web-1", "stopped");
    // From outside: the page follows by itself.
    await control.client.startMachine({ params: { machine: "web-1" } });
    await page.getByText("running", { exact: true }).first().waitFor();

    await page.getByRole("button", { name: "Actions for web-1" }).click();
    await page.getByRole("menuitem", { name: "Destroy…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Destroy" }).click({ force: true });
    expect((await control.client.getMachine({ params: { machine: "web-1" } })).destroying).toBe(false);
    await dialog.getByRole("textbox").fill("web-1");
    await dialog.getByRole("button", { name: "Destroy" }).click();
    await page.getByText('There is no machine "web-1" now.').waitFor();
  }, 60_000);

  test("what failed says why and can be tried again; a refusal is shown, and what was wished taken back", async () => {
    const { page } = tab;
    await go(page, "/machines/fail-boot-1");
    await page
      .getByText(/Kernel panic/)
      .first()
      .waitFor();
    const before = (await control.client.getMachine({ params: { machine: "fail-boot-1" } })).epoch;
    await page.getByRole("button", { name: "Try again" }).click();
    await until("fail-boot-1", "failed");
    expect((await control.client.getMachine({ params: { machine: "fail-boot-1" } })).epoch).toBeGreaterThan(before);

    await go(page, "/machines/db/network");
    await page.getByRole("button", { name: "Expose" }).click();
    await page.getByLabel("Its port").fill("80");
    await page.getByLabel("On the node").fill("15432");
    await page.getByRole("dialog").getByRole("button", { name: "Expose" }).click();
    await page.getByText(/Port 15432\/tcp of the node already leads to/).waitFor();
    await page.getByLabel("On the node").fill("18080");
    await page.getByRole("dialog").getByRole("button", { name: "Expose" }).click();
    await page.getByText("leads to port 80/tcp").waitFor();

    await page.route("**/v1/machines/*/pause", (route) =>
      route.fulfill({
        status: 409,
        contentType: "application/json",
        body: JSON.stringify({ code: "STATE", message: "Not now.", hint: "Later." }),
      }),
    );
    await page.getByRole("button", { name: "Actions for db" }).click();
    await page.getByRole("menuitem", { name: "Pause" }).click();
    await page.getByText("Not now.").first().waitFor();
    await page.unroute("**/v1/machines/*/pause");
    await page.getByText("running", { exact: true }).first().waitFor();
  }, 60_000);

  test("in every state, what the state table accepts is offered, and nothing else", async () => {
    const { page } = tab;
    await page.route("**/v1/machines?*", async (route) => {
      const answer = await route.fetch();
      const body = (await answer.json()) as { items: { name: string }[] };
      const [one] = body.items.filter((m) => m.name === "api-prod");
      const items = MACHINE_STATES.map((state) => ({ ...one, id: `m-${state}`, name: `in-${state}`, state, observed: null }));
      await route.fulfill({ response: answer, json: { ...body, items } });
    });
    await go(page, "/machines");
    for (const state of MACHINE_STATES) {
      await page.getByRole("button", { name: `Actions for in-${state}`, exact: true }).click();
      for (const verb of ["start", "stop", "restart", "pause", "resume", "standby", "destroy"] as const) {
        const item = page.getByRole("menuitem", { name: new RegExp(`^${verb}`, "i") });
        const on = (await item.getAttribute("aria-disabled")) !== "true";
        if (!can(verb, state)) expect([verb, state, on]).toEqual([verb, state, false]);
        if (on) expect(can(verb, state)).toBe(true);
      }
      await page.keyboard.press("Escape");
      await page.getByRole("menu").waitFor({ state: "detached" });
    }
    await page.unroute("**/v1/machines?*");
  }, 60_000);

  test("a view is its address: filters, orders and tabs outlive a reload; keys go everywhere", async () => {
    const { page } = tab;
    await go(page, "/machines?q=label:team=core&sort=-name");
    await page.getByRole("link", { name: "api-prod" }).waitFor();
    expect(await page.getByRole("row").count()).toBe(2);
    await page.keyboard.press("/");
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type("d");
    await page.waitForURL(/q=d/);
    await page.getByRole("link", { name: "db", exact: true }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: "api-prod" }).waitFor();
    expect(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort")).toBe("descending");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/machines/db");
    for (const [key, heading] of [
      ["i", "Images"],
      ["v", "Volumes"],
      ["d", "Nodes"],
      ["e", "Events"],
      ["o", "Overview"],
    ] as const) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
    }
    await page.keyboard.press("ControlOrMeta+k");
    await page.keyboard.type("api-prod snap");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/machines/api-prod/snapshots");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
  }, 60_000);

  test("several are marked and acted on together", async () => {
    const { page } = tab;
    await Promise.all(["b1", "b2", "b3"].map((name) => machine({ name, labels: { batch: "1" } })));
    await Promise.all(["b1", "b2", "b3"].map((name) => until(name, "running")));
    await go(page, "/machines?q=label:batch");
    await page.getByLabel("Mark all").click();
    const bar = page.getByRole("toolbar");
    await bar.getByText("3 machines").waitFor();
    expect(await bar.getByRole("button", { name: "Start", exact: true }).getAttribute("aria-disabled")).toBe("true");
    await bar.getByRole("button", { name: "Stop", exact: true }).click();
    await Promise.all(["b1", "b2", "b3"].map((name) => until(name, "stopped")));
    await bar.getByRole("button", { name: "Destroy" }).click();
    await page.getByRole("dialog").getByRole("textbox").fill("destroy 3");
    await page.getByRole("dialog").getByRole("button", { name: "Destroy" }).click();
    await page.getByText("No machine is like that.").waitFor();
  }, 60_000);

  test("a machine gets another name, and its page goes along", async () => {
    const { page } = tab;
    await machine({ name: "old-name" });
    await until("old-name", "running");
    await go(page, "/machines/old-name/events");
    await page.getByRole("button", { name: "Actions for old-name" }).click();
    await page.getByRole("menuitem", { name: "Rename…" }).click();
    await page.getByRole("textbox", { name: "Name" }).fill("db");
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByText('A machine named "db" is there already.').waitFor();
    await page.getByRole("textbox", { name: "Name" }).fill("new-name");
    await page.getByRole("button", { name: "Rename" }).click();
    await page.waitForURL("**/machines/new-name");
    await page.getByRole("heading", { name: "new-name" }).waitFor();
    await page.getByText("restart to apply changes").waitFor();
  }, 60_000);

  test.skipIf(WHY_NO_REGISTRY !== null)(
    "an image is pulled, layer by layer; one that is not there is said not to be",
    async () => {
      const { page } = tab;
      const registry = await startRegistry();
      try {
        const to = createRegistry({ base: `http://${registry.host}`, push: true });
        await importRootfs(to, Readable.from([randomBytes(3_000_000)]), "team/app:1", { Cmd: ["/app"] });
        await go(page, "/images");
        await page.getByRole("button", { name: "Pull" }).click();
        const dialog = page.getByRole("dialog");
        await dialog.getByLabel("Image").fill(`${registry.host}/team/none:1`);
        await dialog.getByRole("button", { name: "Pull" }).click();
        await dialog.getByRole("alert").waitFor();
        await dialog.getByLabel("Image").fill(`${registry.host}/team/app:1`);
        await dialog.getByRole("button", { name: "Pull" }).click();
        await page.getByText(`${registry.host}/team/app:1 is here`).waitFor();
        await page.getByRole("link", { name: `${registry.host}/team/app:1` }).click();
        await page.getByText("1 layer", { exact: true }).waitFor();
        await page.reload();
        await page.getByText("1 layer", { exact: true }).waitFor();
      } finally {
        await registry.close();
      }
    },
    60_000,
  );

  test("snapshots: taken, rolled back to after keeping what is; drained nodes, volumes, networks, tokens, images", async () => {
    const { page } = tab;
    await go(page, "/machines/api-prod/snapshots");
    await page.getByRole("button", { name: "Take a snapshot" }).click();
    await page.getByLabel("Name").fill("tuesday");
    await page.getByRole("button", { name: "Take it" }).click();
    const row = page.getByRole("row").filter({ hasText: "tuesday" });
    await row.getByText("ready").waitFor();
    await row.getByRole("button", { name: "Roll back" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
    await page.getByText("api-prod goes back to tuesday").waitFor();
    expect((await control.client.listSnapshots({ params: { machine: "api-prod" } })).items).toHaveLength(3);

    await go(page, "/nodes");
    await page.getByRole("button", { name: "Drain" }).click();
    await page.getByText("drained").waitFor();
    await page.getByRole("button", { name: "Undrain" }).click();
    await page.getByText("connected", { exact: true }).waitFor();

    await go(page, "/volumes");
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByLabel("Name").fill("scratch");
    await page.getByRole("dialog").getByRole("button", { name: "Create" }).click();
    await page.getByRole("button", { name: "Actions for scratch" }).click();
    await page.getByRole("menuitem", { name: "Make it larger…" }).click();
    await page.getByLabel("Size").fill("20G");
    await page.getByRole("button", { name: "Make it larger" }).click();
    await page.getByRole("row").filter({ hasText: "scratch" }).getByText("20G").waitFor();

    await go(page, "/networks");
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByLabel("Name").fill("front");
    await page.getByRole("dialog").getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { name: "front" }).waitFor();

    await go(page, "/settings");
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByLabel("Name").fill("ci");
    await page.getByRole("dialog").getByRole("button", { name: "Create" }).click();
    const secret = await page.getByRole("dialog").locator("code").innerText();
    expect((await createClient({ url: control.url, token: secret }).whoami()).name).toBe("ci");
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    await page.getByText("SHA256:").first().waitFor();

    await go(page, "/images/debian:12");
    await page.getByRole("button", { name: "Tag" }).click();
    await page.getByRole("textbox", { name: "Name" }).fill("base:1");
    await page.getByRole("dialog").getByRole("button", { name: "Tag" }).click();
    await page.getByText("base:1").waitFor();
    expect(tab.problems).toEqual([]);
  }, 60_000);

  const VIEWS = [
    ...[
      "/",
      "/machines",
      "/machines/new",
      "/machines/api-prod",
      "/machines/api-prod/logs",
      "/machines/api-prod/files",
      "/machines/api-prod/snapshots",
    ],
    ...["/machines/db/network", "/machines/api-prod/events", "/machines/api-prod/spec", "/images", "/images/debian:12"],
    ...["/volumes", "/networks", "/nodes", "/events", "/settings", "/nowhere"],
  ];
  for (const colorScheme of ["light", "dark"] as const)
    test(`every view, ${colorScheme}: nothing that axe finds serious, no errors, nothing wider than a phone`, async () => {
      const { page, context, problems } = await signIn(browser, control, { colorScheme, bypassCSP: true });
      const found: string[] = [];
      for (const path of VIEWS) {
        await page.setViewportSize({ width: 1280, height: 800 });
        await go(page, path);
        await page.locator("main h1, main p").first().waitFor();
        await page.getByRole("status", { name: "Reading" }).waitFor({ state: "detached" });
        await page.addScriptTag({ content: AXE });
        const violations = await page.evaluate(async () => {
          const { axe } = window as unknown as {
            axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
          };
          return (await axe.run()).violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`);
        });
        found.push(...violations.filter((v) => /^(serious|critical)/.test(v)).map((v) => `${path}: ${v}`));
        await page.setViewportSize({ width: 360, height: 740 });
        const width = await page.evaluate(() =>
          Math.max(document.documentElement.scrollWidth, document.querySelector("main")!.scrollWidth),
        );
        if (width > 360) found.push(`${path}: ${width} px wide on a phone`);
      }
      expect(found).toEqual([]);
      // Logs of pretended machines are none: their agent says so.
      expect(problems.filter((p) => !p.includes("WebSocket"))).toEqual([]);
      await context.close();
    }, 120_000);
});
