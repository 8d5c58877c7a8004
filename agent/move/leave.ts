/** A machine's way to another node, at the node that it leaves. Until the control plane says that it has gone it is the machine. */
import { chownSync, createReadStream, existsSync, rmSync, statSync } from "node:fs";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import type { MoveStream } from "#contract/wire/agent.ts";
import type { LaneDeps } from "#agent/machine/lane.ts";
import type { Record } from "#agent/machine/record.ts";
import type { Driver, Mover, Vm } from "#runtimes/driver.ts";
import { sendSaved } from "./saved.ts";
import { dialPeer, sendAll, serveAt, whyLost, type Stream } from "./streams.ts";
import { createWordReader, encodeWord, Passport, vmmOf, type Word } from "./words.ts";

export type Leaver = { record: Record; deps: LaneDeps; vmm: Driver; save(): void; uid(): number; runDir(): string };
type Open = (carries: MoveStream["carries"]) => Stream;

/** The other end makes an image of it first, where it has none. */
const READY_MS = 10 * 60_000;
const ARRIVED_MS = 60_000;
const [MEET_MS, MEET_AGAIN_MS] = [30_000, 200];

/** Sends it on its way; in the end it stands still here, or runs on. */
export async function leave(s: Leaver, vm: Vm, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { n } = record.desired.move!;
  const note = (stage: "moving" | "done" | "failed", reason: string | null = null): void => {
    record.move = { n, stage, reason };
    s.save();
  };
  note("moving");
  try {
    await send(s, vm, signal);
    note("done");
  } catch (thrown) {
    const { message } = toHyperlaneError(thrown);
    deps.log(`${record.desired.name} stays here: ${message}`);
    await stay(s, vm);
    signal.throwIfAborted();
    note("failed", message);
  }
}

/** It runs on here, however far it was. */
export async function stay({ record, deps, save }: Leaver, vm: Vm): Promise<void> {
  const again = vm.mover ? vm.mover.cancel() : vm.state().then((state) => (state === "paused" ? vm.resume() : undefined));
  await again.catch((thrown) => deps.log(`${record.desired.name}: ${toHyperlaneError(thrown).message}`));
  record.move = null;
  save();
}

async function send(s: Leaver, vm: Vm, signal: AbortSignal): Promise<void> {
  const { record, deps } = s;
  const { id, move, spec } = record.desired;
  const disk = deps.storage.diskPath(id);
  await using undo = new AsyncDisposableStack();
  const peer = dialPeer(move!.peer, deps.tls);
  undo.defer(() => peer.close());
  const open: Open = (carries) => peer.open({ machine: id, n: move!.n, carries });
  const what = { passport: Passport.parse(record), diskBytes: statSync(disk).size, vmm: await vmmOf(s.vmm) };
  const control = await meet(() => openControl(open("control")), { kind: "hello", ...what }, signal);
  undo.defer(() => control.close());
  const dir = `${deps.recordsDir}/${id}/leaving`;
  const since = await untilLost(control, signal, (or) =>
    vm.mover ? sendRunning(s, vm.mover, open, or) : sendSaved(vm, { disk, dir, memoryMib: spec.memoryMib, open }, or),
  );
  // What it has printed; from now on it prints nothing here.
  for (const carries of ["console", "workload"] as const) {
    const path = `${deps.logsDir}/${id}/${carries}.log`;
    if (existsSync(path)) await sendAll(open(carries), createReadStream(path));
  }
  control.say({ kind: "sent", since });
  await control.hear("arrived", ARRIVED_MS, signal);
}

/** Where the other end is lost the work has come to its end as well: what it would do to the machine next is not done. */
export async function untilLost<T>({ lost }: Control, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const done = work(AbortSignal.any([signal, over.signal]));
  try {
    return await Promise.race([done, lost]);
  } catch (thrown) {
    over.abort(thrown);
    await done.catch(() => {});
    throw thrown;
  }
}

/** Its VMM goes on in another while it runs. */
async function sendRunning(s: Leaver, mover: Mover, open: Open, signal: AbortSignal): Promise<number> {
  const sockets = { disk: `${s.runDir()}/move-disk.sock`, memory: `${s.runDir()}/move-memory.sock` };
  await using undo = new AsyncDisposableStack();
  for (const carries of ["disk", "memory"] as const) {
    rmSync(sockets[carries], { force: true });
    const server = await serveAt(sockets[carries], () => open(carries));
    undo.defer(() => void server.close());
    chownSync(sockets[carries], s.uid(), s.uid());
  }
  return await mover.send(sockets, signal);
}

/** The other end hears of it from the control plane, as we do, and may not have yet. */
async function meet(open: () => Control, hello: Word, signal: AbortSignal): Promise<Control> {
  for (const deadline = Date.now() + MEET_MS; ; await Bun.sleep(MEET_AGAIN_MS)) {
    const control = open();
    control.say(hello);
    try {
      await control.hear("ready", READY_MS, signal);
      return control;
    } catch (thrown) {
      control.close();
      signal.throwIfAborted();
      if (toHyperlaneError(thrown).code !== "UNAVAILABLE" || Date.now() > deadline) throw thrown;
    }
  }
}

type Control = ReturnType<typeof openControl>;

/** Words on a stream. lost: rejects when it ends, or the other end says that it has failed. */
export function openControl(stream: Stream) {
  const heard: Word[] = [];
  let wake = Promise.withResolvers<void>();
  const { promise: lost, reject } = Promise.withResolvers<never>();
  lost.catch(() => {});
  const read = createWordReader((word) => {
    if (word.kind === "failed") return reject(new HyperlaneError("FAILED", `at the other node: ${word.reason}`));
    heard.push(word);
    wake.resolve();
    wake = Promise.withResolvers();
  });
  stream.on("data", (bytes: Buffer) => {
    try {
      read(bytes);
    } catch (thrown) {
      reject(toHyperlaneError(thrown));
    }
  });
  if (stream.destroyed || stream.readableEnded) reject(whyLost(new Error("the other end left")));
  stream.resume();
  stream.on("error", (e) => reject(whyLost(e))).on("end", () => reject(whyLost(new Error("the other end left"))));
  return {
    lost,
    say: (word: Word): void => void stream.write(encodeWord(word)),
    /** The next word, which must be this one. */
    async hear<K extends Word["kind"]>(kind: K, timeoutMs: number, signal: AbortSignal): Promise<Extract<Word, { kind: K }>> {
      const late = AbortSignal.timeout(timeoutMs);
      const over = new Promise<never>((_, no) => {
        late.addEventListener("abort", () =>
          no(new HyperlaneError("TIMEOUT", `the other node did not say "${kind}" within ${timeoutMs / 1000} s`)),
        );
        signal.addEventListener("abort", () => no(signal.reason));
      });
      over.catch(() => {});
      while (!heard.length) {
        signal.throwIfAborted();
        await Promise.race([wake.promise, lost, over]);
      }
      const word = heard.shift()!;
      if (word.kind !== kind) throw new HyperlaneError("BUG", `the other node said "${word.kind}" where "${kind}" was due`);
      return word as Extract<Word, { kind: K }>;
    },
    close(): void {
      stream.end();
    },
  };
}
