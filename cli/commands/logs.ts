import { encodeU32, F } from "#contract/wire/frames.ts";
import { type Command } from "#cli/command.ts";
import type { Stream } from "#sdk/client.ts";

export const logs: Command = {
  name: "logs",
  usage: "vps logs NAME",
  summary: "A machine's console, or its workload's output",
  examples: ["vps logs api-prod", "vps logs -f api-prod --workload", "vps logs api-prod --tail 50"],
  args: [1, 1],
  complete: "machine",
  flags: {
    follow: { type: "boolean", short: "f", help: "Go on as more comes" },
    workload: { type: "boolean", help: "The workload (its journal) instead of the console" },
    tail: { type: "string", value: "N", help: "Only the last N lines (1000)" },
  },
  async run({ client, args, flags, out }) {
    const done = Promise.withResolvers<number>();
    const stream: Stream = await client().stream(
      "machineLogs",
      {
        params: { machine: args[0]! },
        query: { follow: flags.follow === true, source: flags.workload ? "workload" : "console", tail: (flags.tail as string) ?? "1000" },
      },
      {
        message(type, payload) {
          if (type === F.STDOUT) {
            out.raw(payload);
            stream?.send(F.CREDIT, encodeU32(payload.length));
          } else if (type === F.EXIT) done.resolve(0);
        },
        close: (error) => (error ? done.reject(error) : done.resolve(0)),
      },
    );
    return await done.promise.finally(() => stream.close());
  },
};
