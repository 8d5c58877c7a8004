/** Debian's Chromium, driven by Playwright, against a control plane of the test's own. */
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";
import type { Client } from "#sdk/client.ts";
import { webDir } from "#host/place.ts";

const CHROMIUM = "/usr/bin/chromium";
export const WHY_NOT = !existsSync(CHROMIUM)
  ? "chromium is not installed"
  : !existsSync(`${webDir()}/index.html.gz`)
    ? "build/web is missing: run scripts/main.ts web"
    : null;

const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

export async function launch(): Promise<Browser> {
  return await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/** problems: errors, and what the page's policy refused. There are to be none. */
export type Tab = { page: Page; context: BrowserContext; problems: string[] };

export async function openTab(browser: Browser, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const problems: string[] = [];
  page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
  page.on("console", (m) => {
    // A refusal by the API is an answer like any other, though Chromium prints it.
    if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) problems.push(`console: ${m.text()}`);
  });
  return { page, context, problems };
}

/** A tab that is signed in by a link. */
export async function signIn(
  browser: Browser,
  { url, client }: { url: string; client: Client },
  options?: BrowserContextOptions,
): Promise<Tab> {
  const tab = await openTab(browser, options);
  const { path } = await client.createLink();
  await tab.page.goto(`${url}${path}`);
  await tab.page.getByRole("heading", { name: "Overview" }).waitFor();
  return tab;
}

/** A browser that is where a node is: in its network namespace. home: of the node, where its program is written to. */
export async function launchIn({ ns, home }: { ns: string; home: string }): Promise<Browser> {
  const program = `${home}/chromium`;
  writeFileSync(program, `#!/bin/sh\nexec ip netns exec ${ns} ${CHROMIUM} "$@"\n`);
  chmodSync(program, 0o755);
  return await chromium.launch({ executablePath: program, args: FLAGS });
}

/** Opens what `vps web --json` printed. The address of the control plane. */
export async function followLink({ page }: Tab, printed: string): Promise<string> {
  const { url } = JSON.parse(printed) as { url: string };
  await page.goto(url);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  return new URL(url).origin;
}
