/** A workload in the foreground: what it prints, what is typed, signals passed on, and its exit code as ours. */
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { decodeExit, decodeU32, encodeResize, encodeU32, F } from "#contract/wire/messages.ts";
import type { Client, Stream } from "#sdk/client.ts";
import { createPump } from "#cli/commands/exec.ts";
import type { Output } from "#cli/render/output.ts";
import { makeRaw } from "#cli/terminal.ts";
import { looks } from "#cli/wait.ts";

/** soon: the machine itself may still be ending. */
type Wants = { stdin: boolean; tty: boolean; soon?: boolean };
type Logs = { follow: boolean; source?: "console" | "workload"; tail?: string; since?: number; until?: number; timestamps?: boolean };

/**
 * Prints a log to its end: stdout to stdout, stderr to stderr. following: nothing that comes from now on is missed. What
 * the workload has ended with, where it was followed so far.
 */
export async function printLogs(
  client: Client,
  machine: string,
  out: Output,
  query: Logs,
  following: () => void = () => {},
): Promise<number | null> {
  let begun = false;
  const done = Promise.withResolvers<number | null>();
  const stream: Stream = await client.stream(
    "machineLogs",
    { params: { machine }, query },
    {
      message(type, payload) {
        if (type === F.EXIT) {
          const { value, text } = decodeExit(payload);
          return done.resolve(text === "workload" ? value : null);
        }
        if (type !== F.STDOUT && type !== F.STDERR) return;
        if (!begun) following();
        begun = true;
        (type === F.STDOUT ? out.raw : out.rawError)(payload);
        stream?.send(F.CREDIT, encodeU32(payload.length));
      },
      close: (error) => (error ? done.reject(error) : done.resolve(null)),
    },
  );
  return await done.promise.finally(() => stream.close());
}

/** started: a machine that runs or has run. tail: how much of what it has printed is shown. Its exit code, once it has ended. */
export async function follow(
  client: Client,
  started: Machine,
  out: Output,
  { stdin, tty, soon = false }: Wants,
  tail?: string,
): Promise<number> {
  const wanted = stdin && started.state === "running";
  let input: Promise<Stream | undefined> | undefined;
  // What is typed may be answered at once, so nobody types before somebody listens.
  const type = (): void => {
    if (!wanted) return;
    input = attach(client, started.id);
    input.catch((thrown) => out.note(toHyperlaneError(thrown).message));
  };
  const raw = tty && wanted ? makeRaw() : undefined;
  const ignore = passSignals(client, started, out);
  try {
    const code = await printLogs(client, started.id, out, { follow: true, ...(tail !== undefined && { tail }) }, type);
    if (soon && code !== null) return code;
  } finally {
    ignore();
    raw?.restore();
    (await input?.catch(() => undefined))?.close();
  }
  return await exitCodeOf(client, started.id);
}

async function attach(client: Client, machine: string): Promise<Stream | undefined> {
  const pump = createPump();
  const { rows = 0, columns: cols = 0 } = process.stdout.isTTY ? process.stdout : {};
  const stream = await client.stream(
    "machineAttach",
    { params: { machine }, query: { rows, cols } },
    {
      message: (type, payload) => void (type === F.CREDIT_BACK && pump.credit(decodeU32(payload))),
      close: () => {},
    },
  );
  pump.start(stream);
  process.stdout.on("resize", () => stream.send(F.RESIZE, encodeResize(process.stdout.rows || 24, process.stdout.columns || 80)));
  return stream;
}

/** Ctrl-C goes to the workload; one that takes no notice is stopped at the second, and left alone at the third. */
function passSignals(client: Client, machine: Machine, out: Output): () => void {
  let interrupts = 0;
  const params = { machine: machine.id };
  const send = (signal: string): void => void client.killMachine({ params, body: { signal } }).catch(() => {});
  const onInterrupt = (): void => {
    interrupts++;
    if (interrupts === 1) return send("INT");
    if (interrupts === 2) {
      out.note(`Stopping ${machine.name}. Ctrl-C once more leaves it to itself.`);
      return void client.stopMachine({ params }).catch(() => {});
    }
    out.note(`Left to itself: \`vps show ${machine.name}\` tells how far it is.`);
    process.exit(130);
  };
  const onTerminate = (): void => send("TERM");
  const onHangUp = (): void => send("HUP");
  process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate).on("SIGHUP", onHangUp);
  return () => void process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate).off("SIGHUP", onHangUp);
}

async function exitCodeOf(client: Client, id: string): Promise<number> {
  const deadline = Date.now() + 30_000;
  for await (const m of looks(client, id)) {
    if (m.state === "failed") throw new HyperlaneError("FAILED", `"${m.name}" failed: ${m.reason ?? "no reason was given"}.`);
    if (m.observed?.epoch === m.epoch && m.observed.exitCode !== null) return m.observed.exitCode;
    if (m.observed?.epoch === m.epoch && m.state === "stopped")
      return m.observed.exit === "panicked" || m.observed.exit === "crashed" ? 125 : 0;
    if (Date.now() > deadline) break;
  }
  throw new HyperlaneError("TIMEOUT", "Its exit code did not become known.");
}
