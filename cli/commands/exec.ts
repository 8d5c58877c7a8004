import { HyperlaneError } from "#contract/errors.ts";
import { decodeExit, decodeU32, encodeResize, encodeU32, exitCode, F } from "#contract/wire/messages.ts";
import type { Command } from "#cli/command.ts";
import { makeRaw } from "#cli/terminal.ts";
import { createWindow } from "#sdk/window.ts";
import type { Stream } from "#sdk/client.ts";

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

export const exec: Command = {
  name: "exec",
  usage: "vps exec [-it] NAME [--] COMMAND...",
  summary: "Run a command in a machine, without its network; its exit code is ours",
  examples: ["vps exec api-prod -- uname -a", "vps exec -it api-prod -- bash", "tar c . | vps exec -i api-prod -- tar x -C /srv"],
  args: [1, 1],
  trailing: true,
  complete: "machine",
  flags: {
    interactive: { type: "boolean", short: "i", help: "Pass stdin on" },
    tty: { type: "boolean", short: "t", help: "Give it a terminal" },
    user: { type: "string", short: "u", value: "USER", help: "Run as this user (the workload's, or root)" },
    env: { type: "string", multiple: true, short: "e", value: "K=V", help: "An environment variable; may be given again" },
    workdir: { type: "string", short: "w", value: "DIR", help: "Run in this directory (the workload's, or /root)" },
  },
  async run({ client, args, rest, flags, out }) {
    if (!rest.length) throw new HyperlaneError("USAGE", "Which command?", { hint: `Try: vps exec ${args[0]} -- uname -a` });
    if (flags.tty && !process.stdin.isTTY)
      throw new HyperlaneError("USAGE", "-t needs a terminal, and stdin is none.", { hint: "Leave -t out." });
    const tty = flags.tty === true;
    const stdin = flags.interactive === true || tty;
    // A terminal that does not know its size says 0.
    const { columns: cols, rows } = process.stdout.isTTY
      ? { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
      : { columns: 80, rows: 24 };
    const done = Promise.withResolvers<number>();
    const pump = stdin ? createPump() : undefined;
    const stream: Stream = await client().stream(
      "machineExec",
      {
        params: { machine: args[0]! },
        query: {
          argv: JSON.stringify(rest),
          tty,
          stdin,
          rows,
          cols,
          user: flags.user as string | undefined,
          env: flags.env === undefined ? undefined : JSON.stringify(flags.env),
          workdir: flags.workdir as string | undefined,
        },
      },
      {
        message(type, payload) {
          if (type === F.STDOUT || type === F.STDERR) {
            (type === F.STDOUT ? out.raw : out.rawError)(payload);
            stream?.send(F.CREDIT, encodeU32(payload.length));
          } else if (type === F.CREDIT_BACK) pump?.credit(decodeU32(payload));
          else if (type === F.EXIT) {
            const exit = decodeExit(payload);
            if (exit.kind === "errno") done.reject(new HyperlaneError("FAILED", `Cannot run it: ${exit.text}`));
            else done.resolve(exitCode(exit));
          }
        },
        close: (error) => done.reject(error ?? new HyperlaneError("UNAVAILABLE", "The connection to the machine was lost.")),
      },
    );
    const raw = tty ? makeRaw() : undefined;
    pump?.start(stream);
    process.stdout.on("resize", () => stream.send(F.RESIZE, encodeResize(process.stdout.rows || 24, process.stdout.columns || 80)));
    for (const [signal, number] of Object.entries(SIGNALS)) process.on(signal, () => stream.send(F.SIGNAL, Buffer.from([number])));
    try {
      return await done.promise;
    } finally {
      raw?.restore();
      stream.close();
    }
  },
};

/** stdin to the stream. */
export function createPump() {
  const window = createWindow();
  return {
    credit: window.credit,
    start(stream: Stream): void {
      void (async () => {
        for await (const piece of process.stdin) await window.send(stream, piece as Uint8Array);
        stream.send(F.EOF, Buffer.alloc(0));
      })();
    },
  };
}
