/** What runs in a machine: the image's word, and the spec's where it says otherwise. Pure; Docker's rules. */
import { z } from "zod";
import { argvOf } from "./argv.ts";
import { changedHealth, Health, type MachineImage } from "./image.ts";
import type { MachineSpec } from "./machine.ts";

/**
 * own: a kernel of the user's, and whatever that finds on its disk; nothing of ours is in it. system: the image's own init becomes PID 1 of the whole machine. process: one program, PID 1 of a namespace of its
 * own, at whose end the machine ends. stopSignal: its number.
 */
export const Workload = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("system"), init: z.string() }),
  z.object({ kind: z.literal("own") }),
  z.object({
    kind: z.literal("process"),
    argv: z.array(z.string()),
    env: z.array(z.string()),
    workdir: z.string(),
    user: z.string(),
    stopSignal: z.int(),
    stopTimeoutS: z.int(),
    tty: z.boolean(),
    stdin: z.boolean(),
    health: Health.nullable(),
  }),
]);
export type Workload = z.infer<typeof Workload>;

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SYSTEM_INITS = ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/bin/systemd"];
const SIGTERM = 15;
const STOP_TIMEOUT_S = 10;
/** What init takes in one message, less what goes around it. */
const WORDS_MAX_BYTES = 30_000;

/** null: neither the image nor the spec names a program. */
export function workloadOf(name: string, spec: MachineSpec, image: MachineImage | null): Workload | null {
  if (spec.kernel) return { kind: "own" };
  if (!image) return null;
  const { run } = image;
  const argv = argvOf(spec, image);
  if (argv.length === 0) return null;
  if (SYSTEM_INITS.includes(argv[0]!)) return { kind: "system", init: argv[0]! };
  const env = new Map<string, string>();
  for (const line of [PATH, `HOSTNAME=${spec.hostname ?? name}`, ...(spec.tty ? ["TERM=xterm"] : []), ...run.env])
    env.set(line.split("=", 1)[0]!, line);
  for (const [key, value] of Object.entries(spec.env)) env.set(key, `${key}=${value}`);
  return {
    kind: "process",
    argv,
    env: [...env.values()],
    workdir: spec.workdir ?? (run.workdir || "/"),
    user: spec.user ?? run.user,
    stopSignal: signalNumber(spec.stopSignal ?? run.stopSignal) ?? SIGTERM,
    stopTimeoutS: spec.stopTimeoutS ?? STOP_TIMEOUT_S,
    tty: spec.tty,
    stdin: spec.stdin,
    health: changedHealth(run.health, spec.healthcheck),
  };
}

/** A sentence that says what is too long, or null. */
export function tooLong(workload: Workload): string | null {
  if (workload.kind !== "process") return null;
  const bytes = [...workload.argv, ...workload.env].reduce((n, word) => n + 1 + new TextEncoder().encode(word).length, 0);
  return bytes > WORDS_MAX_BYTES ? `Command and environment take ${bytes} bytes together, more than ${WORDS_MAX_BYTES}.` : null;
}

/** Of Linux on x86-64 (signal(7)), by number. */
const SIGNALS =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(
    " ",
  );

/** "SIGTERM", "term", "15" or "SIGRTMIN+3". */
export function signalNumber(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= 64 ? Number(text) : undefined;
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realtime = /^RTMIN(?:\+(\d{1,2}))?$/.exec(name);
  if (realtime) return 34 + Number(realtime[1] ?? 0);
  const at = SIGNALS.indexOf(name);
  return at < 0 ? undefined : at + 1;
}
