/** Waiting for a machine: on the event stream, with what was last seen and why in every failure. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { doing } from "#contract/resources/words.ts";
import type { Client } from "#sdk/client.ts";
import type { Output } from "#cli/render/output.ts";

const PATIENCE_MS = 10_000;
const LIMIT_MS = 300_000;
/** Should an event be missed. */
const LOOK_MS = 1_000;
const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_MS = 80;

/** The machine as it is, and again at each of its events; for as long as somebody asks. */
export async function* looks(client: Client, id: string): AsyncGenerator<Machine> {
  let wake = Promise.withResolvers<void>();
  const stream = await client.stream(
    "watchEvents",
    { query: { subject: id } },
    {
      message: () => {},
      text: () => wake.resolve(),
      close: () => wake.resolve(),
    },
  );
  try {
    for (;;) {
      wake = Promise.withResolvers();
      yield await client.getMachine({ params: { machine: id } });
      await Promise.race([wake.promise, Bun.sleep(LOOK_MS)]);
    }
  } finally {
    stream.close();
  }
}

/** Resolves with the machine once `done` says so. A machine that is gone ends it. */
export async function waitFor(client: Client, id: string, out: Output, done: (machine: Machine) => boolean): Promise<Machine> {
  const started = Date.now();
  let hinted = false;
  let frame = 0;
  let last: Machine | undefined;
  const spin = setInterval(() => {
    frame = (frame + 1) % FRAMES.length;
    if (last) out.progress(`${FRAMES[frame]} ${doing(last)} ${((Date.now() - started) / 1000).toFixed(1)}s`);
  }, FRAME_MS);
  const leave = (): void => {
    out.note(`Left to go on: \`vps show ${last?.name ?? id}\` tells how far it is.`);
    process.exit(130);
  };
  process.once("SIGINT", leave);
  try {
    for await (last of looks(client, id)) {
      if (done(last)) return last;
      if (last.state === "failed" && !last.destroying)
        throw new HyperlaneError("FAILED", `"${last.name}" failed: ${last.reason?.replace(/\.$/, "") ?? "no reason was given"}.`, {
          hint: `\`vps logs ${last.name}\` shows its console; \`vps start ${last.name}\` tries again.`,
        });
      const waited = Date.now() - started;
      const stuck = last.state === "requested" && last.reason !== null && !last.destroying;
      if ((stuck || waited > PATIENCE_MS) && !hinted) {
        hinted = true;
        out.note(
          `Still waiting: "${last.name}" is ${last.state}${last.reason ? ` (${last.reason})` : ""}. Ctrl-C leaves it to go on; \`vps show ${last.name}\` tells how far it is.`,
        );
      }
      if (waited > LIMIT_MS)
        throw new HyperlaneError(
          "TIMEOUT",
          `"${last.name}" is still ${last.state} after ${LIMIT_MS / 60_000} minutes${last.reason ? `: ${last.reason}` : ""}.`,
        );
    }
    throw new HyperlaneError("BUG", "looking at a machine came to an end");
  } finally {
    clearInterval(spin);
    out.progress(null);
    process.off("SIGINT", leave);
  }
}

/** Its node knows what was asked for then, or it is on none yet. */
export function hasHeard(m: Machine, asked: Machine): boolean {
  return m.node === null || (m.observed?.revision ?? 0) >= asked.revision;
}
