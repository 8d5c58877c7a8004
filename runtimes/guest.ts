/**
 * Commands in a machine, through our init in it (guest/frames.h), over whatever leads there: the socket of a virtio-serial
 * port, or a vsock that a VMM serves as a Unix socket. Dialled anew for each command, with a deadline: after a restore an
 * older connection may hang for ever.
 */
import { randomBytes } from "node:crypto";
import { createConnection, type Socket } from "node:net";
import { createFrameReader, encodeExec, encodeFrame, encodeSync } from "#contract/wire/frames.ts";
import { createCollector, exitCode, F } from "#contract/wire/messages.ts";
import { TimeoutError, type ExecResult } from "./runtime.ts";

/** port: of a vsock, where the socket is a VMM's; both Firecracker and Cloud Hypervisor take "CONNECT PORT" and answer "OK N". */
export type GuestDoor = { path: string; port?: number };

/** The port at which our init listens. */
export const VSOCK_PORT = 1024;
const HANDSHAKE_MS = 2_000;

export async function execIn(door: GuestDoor, argv: readonly string[], timeoutMs: number): Promise<ExecResult> {
  const deadline = Date.now() + timeoutMs;
  const late = (what: string) => new TimeoutError(`${what} within ${timeoutMs} ms: ${argv.join(" ")}`);
  const socket = await dial(door, Math.min(HANDSHAKE_MS, timeoutMs));
  const { promise, resolve, reject } = Promise.withResolvers<ExecResult>();
  const timer = setTimeout(() => reject(late("Not ended")), Math.max(0, deadline - Date.now()));
  const nonce = randomBytes(8);
  const reader = createFrameReader(nonce);
  const send = (type: number, payload: Uint8Array): void => void socket.write(encodeFrame({ stream: 1, type, payload }));
  const collect = createCollector(send);
  socket.on("error", reject).on("close", () => reject(new Error("The channel to the machine was lost.")));
  socket.on("data", (bytes: Buffer) => {
    for (const { stream, type, payload } of reader.push(bytes)) {
      if (stream === 0 && type === F.READY)
        send(F.EXEC, encodeExec({ argv: [...argv], env: [], workdir: "/", user: "", tty: false, stdin: false, rows: 24, cols: 80 }));
      if (stream !== 1) continue;
      const all = collect(type, payload);
      if (all?.exit.kind === "errno") reject(new Error(`${argv[0]}: ${all.exit.text}`));
      else if (all) resolve({ exitCode: exitCode(all.exit), stdout: all.stdout, stderr: all.stderr });
    }
  });
  socket.write(encodeSync(nonce));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    // Init ends what a host that has gone had started.
    socket.destroy();
  }
}

async function dial({ path, port }: GuestDoor, timeoutMs: number): Promise<Socket> {
  const socket = createConnection(path);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const timer = setTimeout(() => reject(new TimeoutError(`Nobody answers at ${path}.`)), timeoutMs);
  let said = "";
  const listen = (bytes: Buffer): void => {
    said += bytes.toString("latin1");
    if (!said.includes("\n")) return;
    if (/^OK \d+\n$/.test(said)) resolve(socket);
    else reject(new Error(`The machine does not take connections at port ${port}.`));
  };
  socket.on("error", reject).on("close", () => reject(new Error(`The machine does not take connections at ${path}.`)));
  socket.on("connect", () => (port === undefined ? resolve(socket) : void socket.write(`CONNECT ${port}\n`)));
  if (port !== undefined) socket.on("data", listen);
  try {
    return await promise;
  } catch (thrown) {
    socket.destroy();
    throw thrown;
  } finally {
    clearTimeout(timer);
    socket.off("data", listen).removeAllListeners("close").removeAllListeners("error");
  }
}
