/**
 * `bench-web`: the web UI with 5,000 machines, in Chromium: what a first visit loads, how the table scrolls and is filtered, and how
 * the page holds while 1,000 events a second come. Frames are compared with those of an empty page in the same run, under the same
 * load: control plane, browser and this program share the machine's cores. Needs chromium and build/web.
 */
import type { Browser, Page } from "playwright-core";
import { createClient, type Client } from "#sdk/client.ts";
import { ROOT } from "#scripts/sh.ts";
import { firstLoad } from "#scripts/web.ts";
import { launch, signIn } from "#tests/web/browser.ts";
import { median, report, type Measure } from "./report.ts";

const MACHINES = 5_000;
const CONNECTIONS = 32;
const EVENTS_A_SECOND = 1_000;
/** A change of labels, and its node's word that it has heard of it. */
const EVENTS_A_CHANGE = 2;
const BURST_MS = 10_000;
const SCROLL_MS = 4_000;
const ROUNDS = 3;
type Seen = { frames: number; longest: number; blocked: number };

export async function benchWeb(): Promise<void> {
  const server = Bun.spawn([process.execPath, `${ROOT}/bench/serve.ts`], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const first = await server.stdout.getReader().read();
  const { url, token } = JSON.parse(Buffer.from(first.value!).toString()) as { url: string; token: string };
  const client = createClient({ url, token });
  const browser = await launch();
  try {
    await inTurns(MACHINES, (i) => client.createMachine({ body: { name: `m-${i}`, labels: { row: String(i % 50) } } }));
    while (!/state="running"} 5000\b/.test(await client.metrics())) await Bun.sleep(200);
    report(await measure(browser, { url, client }));
  } finally {
    await browser.close();
    server.stdin.end();
    await server.exited;
  }
}

async function measure(browser: Browser, control: { url: string; client: Client }): Promise<Measure[]> {
  const { page } = await signIn(browser, control);
  const opened: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const from = performance.now();
    await page.goto(`${control.url}/web/machines`);
    await page.getByText("5,000", { exact: true }).waitFor();
    opened.push(performance.now() - from);
  }
  const scrolled = await seen(page, SCROLL_MS, () => scroll(page, SCROLL_MS));
  const typing = await seen(page, 1_000, () => type(page));
  await page.getByLabel("Filter").fill("");
  const empty = await browser.newPage();
  await empty.goto("about:blank");
  const emptyScroll = await seen(empty, SCROLL_MS, () => Bun.sleep(SCROLL_MS));
  await empty.close();
  const burst = await underLoad(control.client, () => seen(page, BURST_MS, () => Bun.sleep(BURST_MS)));
  // It has kept up, rather than looked away.
  await page.getByText(`change=${burst.label}-`).first().waitFor({ timeout: 5_000 });
  const blank = await browser.newPage();
  await blank.goto("about:blank");
  await blank.bringToFront();
  const emptyBurst = await underLoad(control.client, () => seen(blank, BURST_MS, () => Bun.sleep(BURST_MS)));
  return [
    { name: "first load, compressed", value: firstLoad() / 1000, unit: "kB", goal: { at: "most", value: 250 } },
    { name: `${MACHINES} machines, from nothing to the table`, value: median(opened), unit: "ms" },
    {
      name: "frames while it scrolls / of an empty page",
      value: scrolled.frames / emptyScroll.frames,
      unit: "",
      goal: { at: "least", value: 0.8 },
    },
    { name: "longest task while it scrolls", value: scrolled.longest, unit: "ms", goal: { at: "most", value: 100 } },
    { name: "longest task while a filter is typed", value: typing.longest, unit: "ms", goal: { at: "most", value: 100 } },
    {
      name: `frames while ${EVENTS_A_SECOND} events a second come / of an empty page then`,
      value: burst.frames / emptyBurst.frames,
      unit: "",
      goal: { at: "least", value: 0.8 },
      note: `${burst.rate.toFixed(0)} and ${emptyBurst.rate.toFixed(0)} events a second came`,
    },
    { name: "longest task then", value: burst.longest, unit: "ms", goal: { at: "most", value: 200 } },
    {
      name: "share of the time in tasks longer than 50 ms then",
      value: burst.blocked / BURST_MS,
      unit: "",
      goal: { at: "most", value: 0.1 },
    },
  ];
}

/** Frames drawn while something goes on; and of the tasks that Chromium calls long (over 50 ms), the longest and all together, in ms. */
async function seen<T>(page: Page, forMs: number, work: () => Promise<T>): Promise<Seen> {
  const watching = page.evaluate(
    (ms) =>
      new Promise<Seen>((done) => {
        const tasks: number[] = [];
        let frames = 0;
        const next = (run: () => void): void =>
          (globalThis as unknown as { requestAnimationFrame(run: () => void): void }).requestAnimationFrame(run);
        const observer = new PerformanceObserver((list) => list.getEntries().forEach((e) => tasks.push(e.duration)));
        observer.observe({ type: "longtask" as never });
        const end = performance.now() + ms;
        const frame = (): void => {
          frames++;
          if (performance.now() < end) return next(frame);
          observer.disconnect();
          done({ frames, longest: Math.max(0, ...tasks), blocked: tasks.reduce((a, b) => a + b, 0) });
        };
        next(frame);
      }),
    forMs,
  );
  await work();
  return await watching;
}

async function scroll(page: Page, forMs: number): Promise<void> {
  await page.mouse.move(640, 500);
  for (const end = performance.now() + forMs; performance.now() < end; await Bun.sleep(30)) await page.mouse.wheel(0, 900);
}

async function type(page: Page): Promise<void> {
  await page.getByLabel("Filter").pressSequentially("label:row=7 m-1", { delay: 40 });
}

async function underLoad(client: Client, work: () => Promise<Seen>): Promise<Seen & { rate: number; label: string }> {
  const before = (await client.listEvents({ query: { last: 1 } })).items[0]!.seq;
  const from = performance.now();
  let stopped = false;
  let sent = 0;
  const label = from.toFixed(0);
  const one = async (): Promise<void> => {
    while (!stopped) {
      const due = ((performance.now() - from) / 1000) * (EVENTS_A_SECOND / EVENTS_A_CHANGE);
      if (sent >= due) await Bun.sleep(2);
      else {
        const i = sent++;
        await client.updateMachine({
          params: { machine: `m-${i % MACHINES}` },
          body: { labels: { row: String(i % 50), change: `${label}-${i}` } },
        });
      }
    }
  };
  const changing = Array.from({ length: CONNECTIONS }, one);
  const found = await work();
  const seconds = (performance.now() - from) / 1000;
  stopped = true;
  await Promise.all(changing);
  const after = (await client.listEvents({ query: { last: 1 } })).items[0]!.seq;
  return { ...found, rate: (after - before) / seconds, label };
}

async function inTurns(count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      for (let i = next++; i < count; i = next++) await work(i);
    }),
  );
}
