/** Every line of lines.txt against its golden file. After a change that is meant: GOLDEN=write bun test tests/cli, and read the diff. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { COMMANDS } from "#cli/table.ts";
import { startFakeControl, type FakeControl } from "#tests/fake/control.ts";

const ROOT = `${import.meta.dirname}/../..`;
const WRITE = process.env.GOLDEN === "write";
type Line = { group: string; marks: string; words: string };
const lines = parse(readFileSync(`${import.meta.dirname}/lines.txt`, "utf8"));
/** Commands that need a machine that is more than pretended: tests/e2e runs them. */
const ELSEWHERE = ["ssh-proxy", "doctor", "image push", "wait", "stats", "attach", "top", "volume import", "template build"];

let control: FakeControl;
let dir: string;
beforeAll(async () => {
  control = await startFakeControl();
  await control.client.createMachine({ body: { name: "fail-boot-1", spec: { restart: "no" } } });
  dir = mkdtempSync(`${tmpdir()}/hl-golden-`);
});
afterAll(() => {
  control.close();
  rmSync(dir, { recursive: true, force: true });
});

function parse(text: string): Line[] {
  let group = "";
  return text.split("\n").flatMap((raw) => {
    if (raw.startsWith("## ")) group = raw.slice(3);
    const match = /^([?!]*) ?((?:vps|hyperlane).*)$/.exec(raw);
    return match ? [{ group, marks: match[1]!, words: match[2]! }] : [];
  });
}

function env(more: Record<string, string>) {
  return {
    PATH: process.env.PATH!,
    HOME: dir,
    HYPERLANE_URL: control.url,
    HYPERLANE_TOKEN: control.token,
    HYPERLANE_DIR: dir,
    TERM: "xterm-256color",
    LC_ALL: "C.UTF-8",
    ...more,
  };
}

function argv(words: string): string[] {
  return [process.execPath, `${ROOT}/main.ts`, ...words.split(" ").map((w) => (w === '""' ? "" : w))];
}

async function piped(words: string): Promise<{ out: string; err: string; code: number }> {
  const child = Bun.spawn(argv(words), { cwd: dir, env: env({}), stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { out, err, code };
}

async function onTerminal(words: string, more: Record<string, string> = {}): Promise<string> {
  const pieces: Uint8Array[] = [];
  const child = Bun.spawn(argv(words), {
    cwd: dir,
    env: env(more),
    terminal: { cols: 120, rows: 40, data: (_: unknown, bytes: Uint8Array) => void pieces.push(bytes.slice()) },
  } as never);
  await child.exited;
  await Bun.sleep(10);
  return Buffer.concat(pieces).toString().replaceAll("\r\n", "\n");
}

/** What differs from run to run, by what it is. */
function settle(text: string): string {
  return text
    .replace(/\b([msintvwb])-[a-z2-7]{12}\b/g, "$1-ID")
    .replace(/hl_[\w-]{43}/g, "hl_SECRET")
    .replace(/sign-in#[\w-]{43}/g, "sign-in#CODE")
    .replace(/SHA256:[\w+/]{43}|([0-9A-F]{2}:){31}[0-9A-F]{2}/g, "FINGERPRINT")
    .replace(/20\d\d-\d\d-\d\d(?=  )/g, "DATE")
    .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:PORT")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/("(?:createdAt|updatedAt|since|retryAt|expiresAt)": )\d+/g, "$10")
    .replace(/("(?:revision|pid)": )\d+/g, "$10")
    .replace(/\(\d+\.\ds\)/g, "(0.1s)")
    .replace(/\b\d+s( ago)?$/gm, "0s$1")
    .replace(/\b\d+s ago +/g, "0s ago  ")
    .replace(/\bUp \d+s +/g, "Up 0s  ")
    .replace(/^(TIME +)\d+/gm, "$10")
    .replace(/\b(CREATED|STATUS) +/g, "$1  ")
    .replace(/hlj_[\w-]+/g, "hlj_WORD")
    .replace(/[0-9a-f]{64}/g, "DIGEST")
    .replace(/\b[0-9a-f]{12}(?=  \d+s$)/gm, "DIGEST")
    .replace(/\b\d+(\.\d)? (B|kB)\b/g, "SIZE")
    .replace(/"(bytes|size)": \d+/g, '"$1": 0')
    .replaceAll(dir, "DIR");
}

const ANSI = /\x1b\[[0-9;]*m/g;

for (const [group, list] of Map.groupBy(lines, (l) => l.group))
  test(`vps: ${group}`, async () => {
    const blocks: string[] = [];
    for (const { marks, words } of list!) {
      const json = marks.includes("!") ? [`${words} --json`] : [];
      // What changes something runs once, so its JSON form is the one that runs.
      for (const line of marks.includes("?") ? [words, ...json] : json.length ? json : [words]) {
        const { out, err, code } = await piped(line);
        if (`${out}${err}`.includes("\x1b")) throw new Error(`${line}: colours in a pipe`);
        if (line.endsWith("--json")) JSON.parse(out);
        blocks.push(`$ ${line}\n${settle(out)}${err ? `--- stderr\n${settle(err)}` : ""}--- exit ${code}\n`);
      }
      if (marks.includes("?")) {
        const color = settle(await onTerminal(words));
        const plain = settle(await onTerminal(words, { NO_COLOR: "1" }));
        expect(plain).toBe(color.replace(ANSI, ""));
        if (color !== plain) blocks.push(`$ ${words}   # on a terminal\n${color.replaceAll("\x1b", "\\e")}`);
      }
    }
    const path = `${import.meta.dirname}/golden/${group}.txt`;
    const text = blocks.join("\n");
    if (WRITE) writeFileSync(path, text);
    expect(text).toBe(existsSync(path) ? readFileSync(path, "utf8") : `there is no ${path}: GOLDEN=write makes it`);
  }, 120_000);

test("every command has a golden line", () => {
  const covered = lines.map((l) => l.words.replace(/^vps /, ""));
  for (const name of Object.keys(COMMANDS))
    if (!ELSEWHERE.includes(name)) expect([name, covered.some((w) => w === name || w.startsWith(`${name} `))]).toEqual([name, true]);
});
