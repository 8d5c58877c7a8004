/**
 * A machine's log as a live stream: what there is, filtered, and with follow what comes, until the machine has ended.
 * EXIT is then how its workload has ended, with the text "workload"; 0 and no text where that is not known.
 * The file is held open, so that what a machine printed last is read to its end even while the machine is removed.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, watch, type FSWatcher } from "node:fs";
import { restartsAfter } from "#contract/resources/restart.ts";
import type { OpenRequest } from "#contract/wire/agent.ts";
import { encodeExit, encodeMessage, F, WINDOW } from "#contract/wire/messages.ts";
import type { Lane } from "#agent/machine/lane.ts";
import type { Record } from "#agent/machine/record.ts";
import type { Lanes } from "#agent/machine/lanes.ts";
import { readExit } from "#agent/machine/logs.ts";
import { createOutputReader, type Output, type WorkloadExit } from "#agent/machine/output.ts";

type Request = Extract<OpenRequest, { kind: "logs" }>;
const CHUNK = 16384;

export function streamLogs(call: ServerDuplexStream<Buffer, Uint8Array>, lane: Lane, lanes: Lanes, logsDir: string, request: Request) {
  const source = request.source ?? (lane.record.desired.workload.kind === "process" ? "workload" : "console");
  const path = `${logsDir}/${lane.id}/${source}.log`;
  const wants = (o: Output): boolean =>
    Number.isNaN(o.time) || ((request.since === null || o.time >= request.since) && (request.until === null || o.time < request.until));
  const queue: { type: number; bytes: Buffer }[] = [];
  let lineOpen = false;
  const enqueue = (o: Output): void => {
    if (!wants(o)) return;
    const head = request.timestamps && o.stamp && !lineOpen ? `${o.stamp} ` : "";
    lineOpen = o.bytes.at(-1) !== 10;
    queue.push({ type: o.stream === "stderr" ? F.STDERR : F.STDOUT, bytes: head ? Buffer.concat([Buffer.from(head), o.bytes]) : o.bytes });
  };
  const reader = createOutputReader(enqueue);
  let fd: number | undefined;
  let watcher: FSWatcher | undefined;
  let at = 0;
  let credit = WINDOW;
  let over = false;

  function open(): void {
    if (fd !== undefined || !existsSync(path)) return;
    fd = openSync(path, "r");
    if (request.follow) watcher = watch(path, () => pump());
  }

  /** What was rotated away comes first, and of both only the end where only the end is wanted. */
  function begin(): void {
    open();
    const past = existsSync(`${path}.1`) ? readFileSync(`${path}.1`) : Buffer.alloc(0);
    if (request.tail === null) return reader.push(past);
    const now = fd === undefined ? Buffer.alloc(0) : readAll(fd);
    const all = past.length ? Buffer.concat([past, now]) : now;
    at = now.length;
    reader.push(all.subarray(tailOffset(all, request.tail, source === "workload")));
  }

  function send(): void {
    for (let next = queue[0]; next && credit > 0; next = queue[0]) {
      const part = next.bytes.subarray(0, Math.min(CHUNK, credit));
      call.write(encodeMessage(next.type, part));
      credit -= part.length;
      if (part.length === next.bytes.length) queue.shift();
      else next.bytes = next.bytes.subarray(part.length);
    }
  }

  function pump(): void {
    if (over) return;
    open();
    // Looked for first: what the workload printed before it ended is then read below.
    const exit = request.follow && source === "workload" ? readExit(logsDir, lane.id, lane.record.logFrom.workload) : undefined;
    for (;;) {
      send();
      if (queue.length) return; // until the reader has taken some
      const size = fd === undefined ? 0 : fstatSync(fd).size;
      if (size < at) at = 0;
      if (at >= size) break;
      const chunk = Buffer.alloc(Math.min(65536, size - at));
      at += readSync(fd!, chunk, 0, chunk.length, at);
      reader.push(chunk);
    }
    if (!request.follow || hasEnded(lane.record) || (exit && endsWith(lane.record, exit.code))) end(exit);
  }

  function end(exit: WorkloadExit | undefined): void {
    call.write(encodeMessage(F.EXIT, encodeExit({ kind: "code", value: exit?.code ?? 0, text: exit ? "workload" : "" })));
    call.end();
    close();
  }

  function close(): void {
    over = true;
    stop();
    watcher?.close();
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  }

  const stop = lanes.onChange((id) => void (id === lane.id && pump()));
  begin();
  // Says from where on nothing is missed, before there is anything to say.
  if (request.follow) call.write(encodeMessage(F.STDOUT, Buffer.alloc(0)));
  setImmediate(pump);
  return {
    take(type: number, payload: Buffer): void {
      if (type !== F.CREDIT) return;
      credit += payload.readUInt32LE(0);
      pump();
    },
    close: () => void (over || close()),
  };
}

/** What is left of a machine whose workload has ended is to end as well. */
function endsWith({ desired, epoch, exit }: Record, exitCode: number): boolean {
  if (desired.power === "absent" || desired.power === "stopped") return true;
  return epoch === desired.epoch && !restartsAfter(desired.spec.restart, { exit: exit ?? "exited", exitCode });
}

/** And is not about to be started again. */
function hasEnded(record: Record): boolean {
  const { phase, desired } = record;
  if (phase === "absent") return true;
  if (desired.power !== "stopped" && record.epoch !== desired.epoch) return false;
  if (phase !== "exited") return phase === "stopped" || phase === "failed";
  return desired.power === "stopped" || !restartsAfter(desired.spec.restart, record);
}

function readAll(fd: number): Buffer {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
}

/** Where the last `lines` lines begin. The record of how a workload ended is no line of its output. */
function tailOffset(bytes: Buffer, lines: number, records: boolean): number {
  let left = lines + 1;
  for (let end = bytes.length; end > 0;) {
    const start = bytes.lastIndexOf(10, end - 2) + 1;
    const isExit = records && /^\S+Z exit F /.test(bytes.toString("latin1", start, start + 48));
    if (!isExit && --left === 0) return end;
    end = start;
  }
  return 0;
}
