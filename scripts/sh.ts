/** Running tools while building. argv only. */
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "..");

export async function sh(argv: string[], options: { cwd?: string; input?: string } = {}): Promise<string> {
  const child = Bun.spawn(argv, {
    cwd: options.cwd ?? ROOT,
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) {
    process.stderr.write(`${argv.join(" ")} failed (${code}):\n${stderr.trim().split("\n").slice(-15).join("\n")}\n`);
    process.exit(1);
  }
  return stdout;
}

/** Says what goes on, and how long it took. */
export async function step<T>(name: string, work: () => Promise<T>): Promise<T> {
  const from = performance.now();
  const result = await work();
  process.stderr.write(`  ${name} (${((performance.now() - from) / 1000).toFixed(1)}s)\n`);
  return result;
}
