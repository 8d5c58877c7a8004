import { expect, test } from "bun:test";
import { ROOT } from "./sh.ts";
import { checkFile, tidy } from "./tidy.ts";

test("the tree keeps its rules", async () => expect(await tidy()).toEqual([]));

test("the format is Prettier's", async () => {
  const child = Bun.spawn(["node_modules/.bin/prettier", "--check", "**/*.{ts,json}"], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`prettier --write "**/*.{ts,json}" puts it right:\n${out}${err}`);
}, 60_000);

test("tidy sees what it is to see", () => {
  const says = (file: string, text: string): string => checkFile(file, text).join("\n");
  expect(says("cli/a.ts", 'import { openStore } from "#control/store/store.ts";')).toContain("may not import control/store/store.ts");
  expect(says("contract/a.ts", 'import { x } from "../cli/main.ts";')).toContain("may not import cli/main.ts");
  expect(says("control/model/a.ts", "const at = Date.now();")).toContain("is to be pure and uses Date.now");
  expect(says("control/model/a.ts", 'import { readFileSync } from "node:fs";')).toContain("is to be pure");
  expect(says("cli/a.ts", 'console.log("x");')).toContain("stdout");
  expect(says("agent/a.ts", 'Bun.spawn(["sh"]);')).toContain("child processes");
  expect(says("agent/a.ts", `function long() {\n${"  x();\n".repeat(80)}}\n`)).toContain("long has 82 lines");
  expect(says("agent/a.ts", "x();\n".repeat(401))).toContain("402 lines");
  expect(says("control/a.ts", 'export { b } from "./b.ts";\nexport * from "./c.ts";\n')).toContain("barrel");
  expect(
    says("control/reconcile/loop.ts", 'import { plan } from "./plan.ts";\nimport type { Store } from "#control/store/store.ts";'),
  ).toBe("");
});
