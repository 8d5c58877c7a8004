/** A real machine from a browser: created, watched, typed in, kept, broken, rolled back, destroyed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { followLink, launchIn, openTab, WHY_NOT as NO_BROWSER, type Tab } from "#tests/web/browser.ts";
import { startNode, WHY_NOT as NO_NODE, type TestNode } from "./node.ts";

const WHY_NOT = NO_NODE ?? NO_BROWSER;
if (WHY_NOT) console.log(`SKIP tests/e2e/web: ${WHY_NOT}`);
const BOOT_MS = 120_000;

describe.skipIf(WHY_NOT !== null)("web UI and a real machine", () => {
  let node: TestNode;
  let browser: Browser;
  let tab: Tab;

  beforeAll(async () => {
    node = await startNode("web");
    browser = await launchIn(node);
    tab = await openTab(browser);
    await followLink(tab, await node.ok(node.vps("web", "--json")));
  }, BOOT_MS);
  afterAll(async () => {
    await browser?.close();
    expect(await node?.close()).toEqual([]);
  }, BOOT_MS);

  const screen = (page: Page) => page.locator(".xterm-rows");
  /** Types a command into a fresh terminal, and waits for what it prints. */
  async function type(page: Page, command: string, prints: string): Promise<void> {
    await page.getByRole("link", { name: "Terminal", exact: true }).click();
    await screen(page).getByText("root@").first().waitFor({ timeout: BOOT_MS });
    await page.locator(".xterm").click();
    await page.keyboard.type(`${command}\n`);
    await screen(page).getByText(prints, { exact: true }).first().waitFor();
  }

  test(
    "create, watch it come up, type in its terminal, snapshot, break it, roll back, destroy",
    async () => {
      const { page, problems } = tab;
      await page.keyboard.press("c");
      await page.getByLabel("Name").fill("journey");
      await page.getByRole("button", { name: "Create", exact: true }).click();
      await page.waitForURL("**/machines/journey");
      await page.getByText("running", { exact: true }).first().waitFor({ timeout: BOOT_MS });

      // Two looks make a chart: what it shows is the machine's own word.
      await page
        .getByText(/^\d+M$/)
        .first()
        .waitFor({ timeout: 20_000 });
      expect(await page.locator("canvas").count()).toBe(4);

      await type(page, "echo precious > /root/file; sync; echo do''ne", "done");
      await type(page, "stty size | cut -d' ' -f1", await rows(page));
      await page.setViewportSize({ width: 900, height: 600 });
      await type(page, "stty size | cut -d' ' -f1", await rows(page));
      await page.setViewportSize({ width: 1280, height: 800 });

      await page.getByRole("link", { name: "Snapshots", exact: true }).click();
      await page.getByRole("button", { name: "Take a snapshot" }).click();
      await page.getByLabel("Name").fill("good");
      await page.getByRole("button", { name: "Take it" }).click();
      await page.getByRole("row").filter({ hasText: "good" }).getByText("ready").waitFor();

      await type(page, "rm /root/file /bin/ls; sync; ls / || echo bro''ken", "broken");
      await page.getByRole("link", { name: "Snapshots", exact: true }).click();
      const epoch = (await node.machine("journey")).epoch;
      await page.getByRole("row").filter({ hasText: "good" }).getByRole("button", { name: "Roll back" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
      await page.getByText("journey goes back to good").waitFor();
      await node.until(
        () => node.machine("journey"),
        (m) => m.epoch > epoch && m.state === "running" && m.observed?.epoch === m.epoch,
        BOOT_MS,
      );
      await type(page, "ls /root/file && cat /root/file", "precious");
      expect(JSON.parse(await node.ok(node.vps("snapshot", "list", "journey", "--json")))).toHaveLength(2);

      await page.getByRole("link", { name: "Logs", exact: true }).click();
      await page.getByRole("combobox", { name: "Which log" }).selectOption("console");
      await page
        .getByRole("log")
        .getByText(/Power down/)
        .first()
        .waitFor();
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
      expect(download.suggestedFilename()).toBe("journey-console.log");

      await page.getByRole("link", { name: "Files", exact: true }).click();
      const sent = randomBytes(300_000);
      await page.getByLabel("Files", { exact: true }).setInputFiles([
        { name: "blob.bin", mimeType: "application/octet-stream", buffer: sent },
        { name: "empty", mimeType: "text/plain", buffer: Buffer.alloc(0) },
      ]);
      await page.getByRole("button", { name: "Copy in" }).click();
      await page.getByText("2 files copied to /root").waitFor();
      await page.getByLabel("Path").fill("/root/none");
      await page.getByRole("button", { name: "Copy out" }).click();
      await page.getByText(/Cannot copy/).waitFor();
      await page.getByLabel("Path").fill("/root/blob.bin");
      const [back] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Copy out" }).click()]);
      expect(back.suggestedFilename()).toBe("blob.bin");
      expect(readFileSync(await back.path()).equals(sent)).toBe(true);
      await page.getByLabel("Path").fill("/etc/ssh");
      const [folder] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Copy out" }).click()]);
      expect(folder.suggestedFilename()).toBe("ssh.tar");

      await page.getByRole("button", { name: "Actions for journey" }).click();
      await page.getByRole("menuitem", { name: "Destroy…" }).click();
      await page.getByRole("dialog").getByRole("textbox").fill("journey");
      await page.getByRole("dialog").getByRole("button", { name: "Destroy" }).click();
      await page.getByText('There is no machine "journey" now.').waitFor({ timeout: 30_000 });
      expect((await node.vps("show", "journey")).code).toBe(5);
      expect(problems).toEqual([]);
    },
    4 * BOOT_MS,
  );

  /** How many lines the terminal shows: what `stty size` says in it too. */
  async function rows(page: Page): Promise<string> {
    await page.getByRole("link", { name: "Terminal", exact: true }).click();
    await screen(page).getByText("root@").first().waitFor();
    return String(await screen(page).locator("> div").count());
  }
});
