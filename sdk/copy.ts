/** Files in or out of a machine, as a tar archive over a live stream: what `vps cp` and a browser have alike. */
import { HyperlaneError } from "#contract/errors.ts";
import { decodeExit, decodeU32, encodeU32, F } from "#contract/wire/messages.ts";
import type { Client } from "./client.ts";
import { createWindow } from "./window.ts";

/** owners: what goes in keeps its numbers of user and group. */
export type CopyRequest = { machine: string; direction: "in" | "out"; path: string; owners?: boolean };

/**
 * exit: resolves once all is there; rejects with what `failed` makes of the machine's own words, or when the connection is lost.
 * write and end: for what goes in. data: what comes out.
 */
export async function openCopy(
  client: Client,
  { machine, direction, path, owners = false }: CopyRequest,
  failed: (why: string) => HyperlaneError,
  data: (bytes: Uint8Array) => void = () => {},
) {
  const exit = Promise.withResolvers<void>();
  exit.promise.catch(() => {});
  const window = createWindow();
  let complaint = "";
  const stream = await client.stream(
    "machineCopy",
    { params: { machine }, query: { direction, path, owners } },
    {
      message(type, payload) {
        if (type === F.STDOUT) data(payload);
        if (type === F.STDERR) complaint += new TextDecoder().decode(payload);
        if (type === F.STDOUT || type === F.STDERR) stream.send(F.CREDIT, encodeU32(payload.length));
        if (type === F.CREDIT_BACK) window.credit(decodeU32(payload));
        if (type !== F.EXIT) return;
        const { kind, value, text } = decodeExit(payload);
        if (kind === "code" && value === 0) exit.resolve();
        else exit.reject(failed(complaint.replaceAll("hyperlane-init: ", "").trim().split("\n")[0] || text || `exit ${value}`));
      },
      close: (error) => exit.reject(error ?? new HyperlaneError("UNAVAILABLE", "The connection to the machine was lost.")),
    },
  );
  return {
    exit: exit.promise,
    write: (bytes: Uint8Array): Promise<void> => window.send(stream, bytes),
    end: (): void => stream.send(F.EOF, new Uint8Array()),
  };
}
