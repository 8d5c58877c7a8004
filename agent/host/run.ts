/** The door to child processes: argv arrays only, never a shell. */
import { closeSync, openSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";

export type RunOptions = { input?: string; timeoutMs?: number; signal?: AbortSignal };

/** Runs to its end; stdout as text. A non-zero exit throws with the last lines of stderr. */
export async function run(argv: readonly string[], { input, timeoutMs = 60_000, signal }: RunOptions = {}): Promise<string> {
  let child;
  try {
    child = Bun.spawn(argv as string[], {
      stdin: input === undefined ? "ignore" : Buffer.from(input),
      stdout: "pipe",
      stderr: "pipe",
      timeout: timeoutMs,
      signal,
      killSignal: "SIGKILL",
      env: { PATH: PATH_DIRS, LC_ALL: "C" },
    });
  } catch (cause) {
    throw new HyperlaneError("UNSUPPORTED", `Cannot run "${argv[0]}": ${(cause as Error).message}`, {
      hint: "`vps doctor` says what is missing and how to install it.",
      cause,
    });
  }
  const [stdout, stderr, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code === 0) return stdout;
  const why =
    stderr.trim().split("\n").slice(-3).join("; ") ||
    (child.signalCode ? `killed by ${child.signalCode} after ${timeoutMs} ms` : `exit code ${code}`);
  throw new HyperlaneError("FAILED", `"${argv.slice(0, 3).join(" ")}" failed: ${why}`);
}

/** Root's usual path: an agent started by a service manager may have none. */
const PATH_DIRS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function which(program: string): string | null {
  return Bun.which(program, { PATH: PATH_DIRS });
}

/** For a program of our own that is to stay small: its collector acts as if the host had little memory. */
export const FRUGAL = { BUN_JSC_forceRAMSize: String(128 * 2 ** 20) };

/** Runs with its stdin fed, its stdout in an open file, its stderr as text. Whatever it ends with is the caller's business. */
export async function runFed(
  argv: readonly string[],
  input: AsyncIterable<Uint8Array>,
  stdout: number,
): Promise<{ ended: string; stderr: string }> {
  const child = Bun.spawn(argv as string[], {
    stdin: "pipe",
    stdout,
    stderr: "pipe",
    env: { PATH: PATH_DIRS, LC_ALL: "C", ...FRUGAL },
  });
  const stderr = new Response(child.stderr).text();
  const feed = async (): Promise<void> => {
    for await (const bytes of input) {
      if (child.exitCode !== null) return;
      child.stdin.write(bytes);
      await child.stdin.flush();
    }
    await child.stdin.end();
  };
  let broken: unknown;
  await feed().catch((thrown) => {
    if ((thrown as { code?: string }).code === "EPIPE") return; // it says itself why it ended
    broken = thrown;
    child.kill("SIGKILL");
  });
  const code = await child.exited;
  if (broken !== undefined) throw broken;
  return { ended: child.signalCode === null ? `exit ${code}` : String(child.signalCode), stderr: await stderr };
}

/** Runs, and gives its stdout as it comes. A non-zero exit throws with the last lines of stderr, after what there was. */
export async function* runStreaming(argv: readonly string[]): AsyncGenerator<Uint8Array> {
  const child = Bun.spawn(argv as string[], { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { PATH: PATH_DIRS, LC_ALL: "C" } });
  const stderr = new Response(child.stderr).text();
  try {
    yield* child.stdout as unknown as AsyncIterable<Uint8Array>;
    if ((await child.exited) !== 0)
      throw new HyperlaneError("FAILED", `"${argv[0]}" failed: ${(await stderr).trim().split("\n").slice(-3).join("; ")}`);
  } finally {
    child.kill("SIGKILL");
  }
}

/** Starts a process that outlives this one, in a session of its own, its output appended to a file. descriptors: handed on as 3 and up. cwd: where it works. */
export function spawnDetached(
  argv: readonly string[],
  outputPath: string,
  { descriptors = [], env = {}, cwd }: { descriptors?: number[]; env?: Record<string, string>; cwd?: string } = {},
): number {
  const out = openSync(outputPath, "a", 0o640);
  try {
    const child = Bun.spawn(argv as string[], {
      stdio: ["ignore", out, out, ...descriptors],
      detached: true,
      cwd,
      env: { PATH: PATH_DIRS, LC_ALL: "C", ...env },
    });
    child.unref();
    return child.pid;
  } catch (cause) {
    throw new HyperlaneError("UNSUPPORTED", `Cannot start "${argv[0]}": ${(cause as Error).message}`, {
      hint: "`vps doctor` says what is missing and how to install it.",
      cause,
    });
  } finally {
    closeSync(out);
  }
}
