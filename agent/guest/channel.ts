/** The agent's end of the channel to init in a machine. See guest/frames.h for the protocol. */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { HyperlaneError } from "#contract/errors.ts";
import { createFrameReader, encodeFrame, encodeSync, type Frame } from "#contract/wire/frames.ts";
import { decodeExit, F, type Exit } from "#contract/wire/messages.ts";
import type { GuestAddress } from "#runtimes/driver.ts";

/** One request's frames. onFrame gets all of the stream's frames, EXIT last. */
export type StreamHandler = (type: number, payload: Buffer) => void;
export type GuestStream = { send(type: number, payload: Uint8Array): void };
export type Channel = ReturnType<typeof openChannel>;

const DIAL_MS = 20;
const LOOK_MS = 5;
/** A VMM that does not answer is asked anew: after a restore the connection of before may hang for ever. */
const ANSWER_MS = 2_000;

/** onReady: init's stage, 0 it is there, 1 the machine is up. Dials, or serves, until closed; a restarted guest is synced anew by resync(). */
export function openChannel({ path, port, serve = false }: GuestAddress, onReady: (stage: number) => void) {
  const streams = new Map<number, StreamHandler>();
  let socket: Socket | undefined;
  let reader = createFrameReader(randomBytes(8));
  let nextStream = 1;
  let closed = false;

  function dial(): void {
    if (closed) return;
    const s = createConnection(path);
    if (port === undefined) {
      s.on("connect", () => use(s));
      listen(s);
    } else connectThrough(s, port);
    s.on("close", () => setTimeout(dial, DIAL_MS));
  }

  /** A VMM that has a vsock is told "CONNECT PORT", and says "OK N" once the guest has taken it (Firecracker, docs/vsock.md). */
  function connectThrough(s: Socket, to: number): void {
    const late = setTimeout(() => s.destroy(), ANSWER_MS);
    s.on("connect", () => s.write(`CONNECT ${to}\n`));
    s.on("error", () => {}).on("close", () => clearTimeout(late));
    let said = "";
    const take = (bytes: Buffer): void => {
      said += bytes.toString("latin1");
      if (!said.endsWith("\n")) return;
      clearTimeout(late);
      if (!/^OK \d+\n$/.test(said)) return void s.destroy();
      s.off("data", take);
      listen(s);
      use(s);
    };
    s.on("data", take);
  }

  function use(s: Socket): void {
    socket?.destroy();
    socket = s;
    resync();
  }

  function listen(s: Socket): void {
    s.on("data", (bytes: Buffer) => {
      try {
        reader.push(bytes).forEach(take);
      } catch {
        resync(); // a guest that speaks nonsense loses its streams, and gets another chance
      }
    });
    s.on("error", () => {});
    s.on("close", () => {
      if (socket !== s && socket !== undefined) return;
      socket = undefined;
      dropStreams("The channel to the machine was lost.");
    });
  }

  function resync(): void {
    dropStreams("The machine restarted.");
    const nonce = randomBytes(8);
    reader = createFrameReader(nonce);
    socket?.write(encodeSync(nonce));
  }

  function dropStreams(why: string): void {
    const lost = [...streams.values()];
    streams.clear();
    const payload = Buffer.concat([Buffer.from([2, 5]), Buffer.from(why)]); // EXIT, errno EIO
    for (const handler of lost) handler(F.EXIT, payload);
  }

  function take(frame: Frame): void {
    if (frame.stream === 0) {
      if (frame.type === F.READY) onReady(frame.payload[0] ?? 0);
      return;
    }
    const handler = streams.get(frame.stream);
    if (frame.type === F.EXIT) streams.delete(frame.stream);
    handler?.(frame.type, frame.payload);
  }

  const server = serve
    ? createServer((s) => {
        listen(s);
        use(s);
      })
    : undefined;
  // One that an agent before us has left.
  if (server) rmSync(path, { force: true });
  server?.on("error", () => {}).listen(path);
  if (!serve) dial();
  return {
    get connected(): boolean {
      return socket !== undefined && reader.synced;
    },
    resync,
    /** Opens a stream with its request frame. */
    open(type: number, payload: Uint8Array, handler: StreamHandler): GuestStream {
      if (!socket || !reader.synced)
        throw new HyperlaneError("UNAVAILABLE", "Init in the machine does not answer.", {
          hint: "`vps logs NAME` shows its console; `vps restart NAME` starts it anew.",
        });
      const stream = nextStream++;
      streams.set(stream, handler);
      socket.write(encodeFrame({ stream, type, payload }));
      return { send: (t, p) => void (streams.has(stream) && socket?.write(encodeFrame({ stream, type: t, payload: p }))) };
    },
    /** Until it is connected, or for so long: one that was only just dialled, after a restart or a move, answers in a moment. */
    async answers(withinMs: number): Promise<void> {
      for (const deadline = Date.now() + withinMs; !this.connected && !closed && Date.now() < deadline;) await Bun.sleep(LOOK_MS);
    },
    /** A request with one answer: what it printed, or an error. */
    async ask(type: number, payload: Uint8Array, timeoutMs: number): Promise<Buffer> {
      if (!this.connected) await this.answers(Math.min(timeoutMs, ANSWER_MS));
      const out: Buffer[] = [];
      const { promise, resolve, reject } = Promise.withResolvers<Exit>();
      const timer = setTimeout(
        () => reject(new HyperlaneError("TIMEOUT", `Init in the machine did not answer within ${timeoutMs / 1000} s.`)),
        timeoutMs,
      );
      try {
        this.open(type, payload, (t, p) => (t === F.EXIT ? resolve(decodeExit(p)) : t === F.STDOUT ? out.push(p) : 0));
        const exit = await promise;
        if (exit.kind !== "code" || exit.value !== 0)
          throw Object.assign(new HyperlaneError("FAILED", `Init in the machine refused: ${exit.text || exit.kind} (${exit.value})`), {
            errno: exit.value,
          });
        return Buffer.concat(out);
      } finally {
        clearTimeout(timer);
      }
    },
    close(): void {
      closed = true;
      server?.close();
      socket?.destroy();
    },
  };
}
