/** `screenshots`: every view of the web UI in both themes, of a real node with real machines, into docs/web. Needs root, build/guest and chromium. */
import { mkdirSync } from "node:fs";
import type { Page } from "playwright-core";
import { startNode, type TestNode } from "#tests/e2e/node.ts";
import { makeImage } from "#tests/e2e/image.ts";
import { followLink, launchIn, openTab } from "#tests/web/browser.ts";
import { ROOT, step } from "./sh.ts";

const OUT = `${ROOT}/docs/web`;
/** Long enough for charts to have a shape. */
const CHART_MS = 40_000;

const VIEWS: [name: string, path: string, ready?: (page: Page) => Promise<unknown>][] = [
  ["overview", "/"],
  ["machines", "/machines"],
  ["create", "/machines/new"],
  ["machine", "/machines/web", (page) => page.waitForTimeout(CHART_MS)],
  ["terminal", "/machines/api-prod/terminal", typeSomething],
  ["logs", "/machines/web/logs"],
  ["files", "/machines/api-prod/files"],
  ["snapshots", "/machines/api-prod/snapshots"],
  ["network", "/machines/db/network"],
  ["machine-events", "/machines/api-prod/events"],
  ["spec", "/machines/api-prod/spec"],
  ["images", "/images"],
  ["image", "/images/busybox:1"],
  ["volumes", "/volumes"],
  ["networks", "/networks"],
  ["nodes", "/nodes"],
  ["events", "/events"],
  ["settings", "/settings"],
  ["palette", "/machines", (page) => page.keyboard.press("Control+k").then(() => page.keyboard.type("stop"))],
];

export async function takeScreenshots(): Promise<void> {
  mkdirSync(OUT, { recursive: true });
  const node = await startNode("shots");
  try {
    await step("machines", () => populate(node));
    const browser = await launchIn(node);
    for (const colorScheme of ["light", "dark"] as const) {
      const tab = await openTab(browser, { colorScheme });
      const { page } = tab;
      const origin = await followLink(tab, await node.ok(node.vps("web", "--json")));
      for (const [name, path, ready] of VIEWS)
        await step(`${name}, ${colorScheme}`, async () => {
          await page.goto(`${origin}/web${path}`, { waitUntil: "domcontentloaded" });
          await page.waitForTimeout(1500);
          await ready?.(page);
          await page.waitForTimeout(500);
          await page.screenshot({ path: `${OUT}/${name}-${colorScheme}.png` });
        });
    }
    await browser.close();
  } finally {
    await node.close();
  }
}

async function populate(node: TestNode): Promise<void> {
  const vps = (...words: string[]): Promise<string> => node.ok(node.vps(...words));
  await makeImage(node, "busybox", { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] });
  await vps("network", "create", "back");
  await vps("volume", "create", "pgdata", "--size", "20G");
  await vps("up", "api-prod", "--label", "team=core", "--label", "tier=1");
  await vps("up", "api-staging", "--label", "team=core");
  const serve =
    'httpd -p 80 -h /; echo started; while true; do echo "$(date -u +%T) GET / 200"; dd if=/dev/urandom of=/dev/null bs=64k count=$((40 + $(date +%S | tail -c 2) * 60)) 2>/dev/null; sleep 2; done';
  await vps("run", "-d", "--name", "web", "-p", "8080:80", "--label", "team=web", "busybox:1", "sh", "-c", serve);
  await vps(
    "run",
    "-d",
    "--name",
    "db",
    "--network",
    "back",
    "-v",
    "pgdata:/var/lib/data",
    "--label",
    "team=data",
    "busybox:1",
    "sleep",
    "100000",
  );
  await vps("run", "-d", "--name", "worker", "--restart", "on-failure:1", "busybox:1", "no-such-program");
  const ask = "while true; do wget -q -O /dev/null http://web.internal/bin/busybox; sleep 1; done";
  await vps("run", "-d", "--name", "probe", "busybox:1", "sh", "-c", ask);
  for (const name of ["cache", "batch"]) await vps("run", "-d", "--name", name, "busybox:1", "sleep", "100000");
  await vps("pause", "cache");
  await vps("stop", "batch");
  await vps("snapshot", "api-prod", "before-upgrade");
  await vps("expose", "api-prod", "--port", "22", "--as", "2222");
}

async function typeSomething(page: Page): Promise<void> {
  await page.locator(".xterm-rows").getByText("root@").first().waitFor({ timeout: 60_000 });
  await page.locator(".xterm").click();
  await page.keyboard.type("uname -sr; free -m; systemctl is-system-running\n");
  await page.waitForTimeout(2500);
}
