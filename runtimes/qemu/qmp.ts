/** QMP, QEMU's control protocol: JSON lines over a Unix socket (qemu docs/interop/qmp-spec.txt). */
import { createConnection, type Socket } from "node:net";

export type QmpEvent = { event: string; data?: Record<string, unknown> };
export type Qmp = {
  execute(command: string, args?: object): Promise<unknown>;
  onEvent(listener: (event: QmpEvent) => void): void;
  onClose(listener: () => void): void;
  close(): void;
};

const ANSWER_MS = 5_000;

export async function connectQmp(path: string): Promise<Qmp> {
  const socket = await new Promise<Socket>((done, fail) => {
    const s = createConnection(path);
    s.once("connect", () => done(s)).once("error", fail);
  });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  const events = new Set<(event: QmpEvent) => void>();
  const closers = new Set<() => void>();
  let next = 0;
  let closed = false;
  let text = "";
  const greeted = Promise.withResolvers<void>();
  greeted.promise.catch(() => {});
  socket.setEncoding("utf8");
  socket.on("data", (piece: string) => {
    text += piece;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      if (line.trim()) take(JSON.parse(line));
    }
  });
  const end = (): void => {
    if (closed) return;
    closed = true;
    const gone = new Error("The VMM closed its control socket");
    greeted.reject(gone);
    for (const w of waiting.values()) w.reject(gone);
    waiting.clear();
    for (const listener of closers) listener();
  };
  socket.on("close", end).on("error", end);

  function take(message: {
    QMP?: object;
    event?: string;
    id?: number;
    return?: unknown;
    error?: { desc: string };
    data?: Record<string, unknown>;
  }): void {
    if (message.QMP) greeted.resolve();
    if (message.event) for (const listener of events) listener(message as QmpEvent);
    const waiter = message.id === undefined ? undefined : waiting.get(message.id);
    if (!waiter) return;
    waiting.delete(message.id!);
    if (message.error) waiter.reject(new Error(`QEMU: ${message.error.desc}`));
    else waiter.resolve(message.return);
  }

  const execute = (command: string, args?: object): Promise<unknown> => {
    if (closed) return Promise.reject(new Error("The VMM is gone"));
    const id = ++next;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`QEMU did not answer ${command} within ${ANSWER_MS / 1000} s`));
      }, ANSWER_MS);
      const settle =
        <A>(f: (a: A) => void) =>
        (a: A) => {
          clearTimeout(timer);
          f(a);
        };
      waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  };
  await greeted.promise;
  await execute("qmp_capabilities");
  return {
    execute,
    onEvent: (listener) => void events.add(listener),
    onClose: (listener) => void (closed ? listener() : closers.add(listener)),
    close: () => {
      closers.clear();
      socket.destroy();
    },
  };
}
