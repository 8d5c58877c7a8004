/** The web UI while its control plane comes and goes: what is shown stays, what was missed comes, and the first load is small. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Browser } from "playwright-core";
import { initFake, serveFake, startFakeNode, type Made } from "#tests/fake/control.ts";
import { launch, signIn, WHY_NOT, type Tab } from "./browser.ts";

const FIRST_LOAD_MAX_BYTES = 250_000;

if (WHY_NOT) console.log(`SKIP tests/web/offline: ${WHY_NOT}`);

describe.skipIf(WHY_NOT !== null)("web UI, offline", () => {
  let dir: string;
  let made: Made;
  let node: Awaited<ReturnType<typeof startFakeNode>>;
  let serving: Awaited<ReturnType<typeof serveFake>>;
  let browser: Browser;
  let tab: Tab;
  const log = (): void => {};

  beforeAll(async () => {
    ({ dir, made } = await initFake());
    node = await startFakeNode(made, dir, { cpu: 8, memoryMib: 16_384, diskMib: 500_000, stepMs: 20, log });
    serving = await serveFake(dir, made, log);
    browser = await launch();
    await serving.client.createMachine({ body: { name: "steady" } });
    tab = await signIn(browser, serving);
  });
  afterAll(async () => {
    await browser?.close();
    serving?.control.close();
    node?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test("a first visit loads less than 250 kB, and neither terminal nor charts", async () => {
    const { page, context } = await signIn(browser, serving);
    const loads: [path: string, bytes: number][] = [];
    page.on("requestfinished", async (r) => {
      const { responseBodySize } = await r.sizes();
      loads.push([new URL(r.url()).pathname, responseBodySize]);
    });
    // Signed in, but with nothing kept from before.
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
    await page.goto(`${serving.url}/web/`, { waitUntil: "networkidle" });
    const files = loads.filter(([path]) => path.startsWith("/web/"));
    expect(files.length).toBeGreaterThan(4);
    expect(files.map(([path]) => path).join(" ")).not.toMatch(/terminal|charts/);
    expect(files.reduce((sum, [, bytes]) => sum + bytes, 0)).toBeLessThan(FIRST_LOAD_MAX_BYTES);
    await context.close();
  }, 60_000);

  test("while the control plane is away the page says so and shows what it knew; afterwards it has missed nothing", async () => {
    const { page } = tab;
    await page.goto(`${serving.url}/web/machines`);
    await page.getByRole("link", { name: "steady" }).waitFor();
    await page.getByText("live", { exact: true }).waitFor();
    serving.control.close();
    await page
      .getByRole("navigation", { name: "Views" })
      .getByText(/offline/)
      .waitFor();
    await page.getByRole("link", { name: "steady" }).waitFor();
    await page.getByRole("button", { name: "Actions for steady" }).click();
    await page.getByRole("menuitem", { name: "Stop" }).click();
    await page
      .getByText(/Cannot reach the control plane/)
      .first()
      .waitFor();

    serving = await serveFake(dir, made, log);
    // Made before the page has found its way back, and known to it from the stream alone.
    let read = 0;
    page.on("request", (r) => void (/\/v1\/machines\?/.test(r.url()) && read++));
    await serving.client.createMachine({ body: { name: "newcomer" } });
    await page.getByRole("link", { name: "newcomer" }).waitFor();
    await page.getByText("live", { exact: true }).waitFor();
    await page.getByRole("row").filter({ hasText: "newcomer" }).getByText("running").waitFor();
    await serving.client.destroyMachine({ params: { machine: "newcomer" } });
    await page.getByRole("link", { name: "newcomer" }).waitFor({ state: "detached" });
    expect(read).toBe(0);
    expect((await serving.client.getMachine({ params: { machine: "steady" } })).power).toBe("running");
  }, 60_000);
});
