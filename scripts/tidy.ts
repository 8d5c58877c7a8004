/**
 * `tidy`: the rules of the tree, as a program that a test runs. Which folder may import which, which files are pure,
 * which file is the door to each dangerous thing, and the few rules of style that a formatter does not hold.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { ROOT, sh } from "./sh.ts";

/** A folder may import itself and those listed. The longest matching folder decides; "" is the root. */
const IMPORTS: Record<string, readonly string[]> = {
  "": ["cli", "host"],
  host: ["cli", "sdk", "contract", "control", "agent", "oci"],
  contract: ["runtimes"],
  oci: ["contract"],
  sdk: ["contract"],
  web: ["sdk", "contract"],
  cli: ["sdk", "contract", "oci"],
  control: ["contract", "oci", "runtimes"],
  "control/model": ["contract"],
  "control/schedule": ["contract", "runtimes"],
  "control/store": ["contract", "control/model"],
  "control/auth": ["contract", "control/model"],
  "control/agents": ["contract", "control/model", "control/auth"],
  "control/images": ["contract", "oci", "control/model"],
  "control/reconcile": ["contract", "control/model", "control/schedule", "control/store"],
  "control/dialects": ["contract", "control/api", "control/model", "control/agents", "control/auth", "runtimes"],
  "control/api": [
    "contract",
    "control/model",
    "control/schedule",
    "control/store",
    "control/auth",
    "control/agents",
    "control/images",
    "oci",
    "runtimes",
  ],
  agent: ["contract", "oci", "runtimes"],
  runtimes: ["contract"],
  tests: ["cli", "host", "sdk", "contract", "oci", "control", "agent", "runtimes", "scripts", ""],
  bench: ["host", "sdk", "contract", "oci", "control", "agent", "runtimes", "tests", "scripts"],
  scripts: ["host", "tests", "bench", "contract"],
};

/** Data in, data out: no clock, no chance, no process, nothing outside the language but types and zod. */
const PURE =
  /^(contract\/(?!.*\.test\.)|control\/(model|schedule)\/|control\/reconcile\/plan(-\w+)?\.ts|control\/agents\/ingest\.ts|agent\/network\/plan\.ts|agent\/machine\/ladder\.ts|runtimes\/capabilities\.ts|web\/(data\/(apply|capacity)|machines\/(actions|compare|filter|form|lines|samples)|shell\/commands)\.ts|runtimes\/[\w-]+\/command\.ts)/;
const IMPURE =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.|crypto\.|process\.|Bun\.(?!YAML)|setTimeout|setInterval|fetch\()|from "(node:|bun)/;

/** Each dangerous thing has its door; elsewhere it is not used. */
const DOORS: { what: RegExp; door: RegExp; name: string }[] = [
  {
    name: "child processes",
    what: /\bBun\.spawn|child_process|Bun\.\$/,
    door: /^(agent\/host\/run\.ts|runtimes\/vmm\.ts|cli\/(commands\/(ssh|web)|docker-config|terminal)\.ts|host\/supervisor\.ts|scripts\/|tests\/|bench\/)/,
  },
  { name: "SQL", what: /bun:sqlite/, door: /^(control\/store\/|bench\/|tests\/)/ },
  { name: "stdout", what: /process\.stdout\.write|console\.\w+\(/, door: /^(cli\/render\/|scripts\/|tests\/|bench\/)/ },
  { name: "nftables", what: /run\(\["nft"/, door: /^agent\/network\// },
  { name: "made of text as HTML", what: /dangerouslySetInnerHTML|\.innerHTML\b|insertAdjacentHTML/, door: /^$/ },
  { name: "ZFS", what: /run\(\["zfs"/, door: /^agent\/storage\// },
];

const BANNED_NAMES = /(^|[-_.])(utils?|helpers?|common|managers?|services?|misc|index)($|[-_.])/i;
const FILE_LINES = 400;
const FUNCTION_LINES = 70;
/** Of a function that holds what is drawn. */
const JSX_LINES = 120;
const IMPORT = /^\s*(?:import|export)\b[^"']*?from\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm;

export async function tidy(): Promise<string[]> {
  const files = (await sh(["git", "ls-files", "--cached", "--others", "--exclude-standard"]))
    .trim()
    .split("\n")
    .filter((f) => existsSync(join(ROOT, f)));
  const sources = files.filter((f) => /\.tsx?$/.test(f));
  if (sources.length < 50) return [`tidy sees only ${sources.length} TypeScript files: something is wrong with tidy`];
  const problems = sources.flatMap((file) => checkFile(file, readFileSync(join(ROOT, file), "utf8")));
  problems.push(...unused(sources.map((file) => readFileSync(join(ROOT, file), "utf8"))));
  for (const file of files)
    for (const part of file.split("/"))
      // A browser asks for it under this name.
      if (part !== "index.html" && BANNED_NAMES.test(part.replace(/\.[a-z]+$/, "")))
        problems.push(`${file}: "${part}" says nothing: name it after what it does`);
  return problems;
}

/** Exports whose name stands nowhere but where it is made. */
function unused(texts: string[]): string[] {
  const all = texts.join("\n");
  const counts = new Map<string, number>();
  for (const [word] of all.matchAll(/\b[A-Za-z_]\w*\b/g)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...all.matchAll(/^export (?:async )?(?:const|function|class|type) (\w+)/gm)]
    .map((m) => m[1]!)
    .filter((name) => counts.get(name) === 1)
    .map((name) => `${name} is exported and not used`);
}

export function checkFile(file: string, text: string): string[] {
  const problems: string[] = [];
  const test = /\.test\.ts$/.test(file);
  const page = file.endsWith(".tsx");
  const say = (what: string): void => void problems.push(`${file}: ${what}`);
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
  if (!test) {
    for (const target of imports(file, text)) if (!mayImport(file, target)) say(`may not import ${target} (the table in scripts/tidy.ts)`);
    for (const [specifier] of importsOf(text))
      if (/^\.\.\//.test(specifier) && folderOf(normalize(join(dirname(file), specifier))) !== folderOf(file))
        say(`imports ${specifier}: across folders it is #folder/...`);
    const impure = PURE.test(file) ? IMPURE.exec(code.replace(/import type [^;]+;/g, "")) : null;
    if (impure) say(`is to be pure and uses ${impure[0]}`);
    for (const { name, what, door } of DOORS)
      if (what.test(code) && !door.test(file) && file !== "scripts/tidy.ts")
        say(`uses ${name}, which ${String(door) === "/^$/" ? "is for nobody" : "have a door of their own"}`);
    if (text.split("\n").length > FILE_LINES) say(`has ${text.split("\n").length} lines, more than ${FILE_LINES}`);
    for (const { name, lines } of functions(text))
      if (lines > (page ? JSX_LINES : FUNCTION_LINES))
        say(`${name} has ${lines} lines of its own, more than ${page ? JSX_LINES : FUNCTION_LINES}`);
  }
  if (/^(\s*export .* from .*;?\s*)+$/.test(text)) say("is a barrel: import from where it is");
  if (/\b(as any|: any\b|@ts-ignore|@ts-expect-error)/.test(code) && file !== "scripts/tidy.ts") say("turns the types off");
  if (/\b(test|it|describe)\.(only|todo)\b/.test(text) && file !== "scripts/tidy.ts") say("leaves tests out");
  return problems;
}

function importsOf(text: string): [specifier: string][] {
  return [...text.matchAll(IMPORT)].map((m) => [m[1] ?? m[2]!]);
}

/** Files of ours that it imports, from the root. */
function imports(file: string, text: string): string[] {
  return importsOf(text).flatMap(([s]) =>
    s.startsWith("#") ? [s.slice(1)] : s.startsWith(".") ? [normalize(join(dirname(file), s))] : [],
  );
}

function folderOf(file: string): string {
  return (
    Object.keys(IMPORTS)
      .filter((f) => f !== "" && file.startsWith(`${f}/`))
      .sort((a, b) => b.length - a.length)[0] ?? ""
  );
}

function mayImport(file: string, target: string): boolean {
  const [from, to] = [folderOf(file), folderOf(target)];
  // What stands right in a folder composes what is below it.
  if (from === to || (from !== "" && dirname(file) === from && target.startsWith(`${from}/`))) return true;
  return IMPORTS[from]!.some((f) => f === to || (f !== "" && to.startsWith(`${f}/`)));
}

/** Functions by their indentation, which the formatter keeps; each with the lines that are its own and not an inner function's. */
function functions(text: string): { name: string; lines: number }[] {
  const lines = text.split("\n");
  const found: { name: string; from: number; to: number }[] = [];
  for (const [from, line] of lines.entries()) {
    const match =
      /^(\s*)(?:export )?(?:default )?(?:async )?(?:function\*? (\w+)|(?:const )?(\w+)[^;]*=>\s*\{$)/.exec(line) ??
      /^(\s+)(?:async )?(\w+)\([^;]*\{$/.exec(line);
    const name = match?.[2] ?? match?.[3];
    if (!match || !name || /^(if|for|while|switch|catch|return)$/.test(name)) continue;
    const end = lines.findIndex(
      (l, i) => i > from && l.startsWith(`${match[1]}}`) && !l.startsWith(`${match[1]}} {`) && !l.startsWith(`${match[1]}}: `),
    );
    if (end > from) found.push({ name, from, to: end });
  }
  return found.map((f) => {
    const inner = found.filter((g) => g.from > f.from && g.to < f.to);
    const outermost = inner.filter((g) => !inner.some((h) => h !== g && h.from < g.from && h.to > g.to));
    return { name: f.name, lines: f.to - f.from + 1 - outermost.reduce((n, g) => n + g.to - g.from + 1, 0) };
  });
}

export async function runTidy(): Promise<void> {
  const problems = await tidy();
  for (const p of problems) process.stdout.write(`${p}\n`);
  process.stdout.write(problems.length ? `${problems.length} to tidy\n` : "tidy\n");
  process.exitCode = problems.length ? 1 : 0;
}
