/** The TypeScript client, derived from the operation table: `client.getMachine({ params: { machine: "api" } })`. */
import { fromErrorBody, HyperlaneError } from "#contract/errors.ts";
import { OPERATIONS, pathOf, type Operation, type OperationName } from "#contract/operations.ts";
import type { BodyInput, Output } from "#contract/schemas.ts";
import { encodeMessage, F } from "#contract/wire/frames.ts";

export type Options<N extends OperationName> = {
  params?: Record<string, string>;
  query?: Record<string, string | number | boolean | undefined>;
  body?: BodyInput<N>;
  /** Beside our own, for a live stream. */
  headers?: Record<string, string>;
  /** Sent again with the same key, a call takes effect once. */
  idempotencyKey?: string;
};
export type Client = { [N in OperationName]: (options?: Options<N>) => Promise<Output<N>> } & {
  stream(name: OperationName, options: Options<OperationName>, on: StreamEvents): Promise<Stream>;
};
/** message: type and payload of a live message. close: after the last one. */
export type StreamEvents = { message(type: number, payload: Buffer): void; text?(text: string): void; close(error?: HyperlaneError): void };
export type Stream = { send(type: number, payload: Uint8Array): void; close(): void };

export function createClient({ url, token }: { url: string; token: string }): Client {
  const address = (name: OperationName, { params, query }: Options<OperationName>): string => {
    const search = new URLSearchParams(
      Object.entries(query ?? {}).flatMap(([k, v]): [string, string][] => (v === undefined ? [] : [[k, String(v)]])),
    );
    return `${url}${pathOf(name, params)}${search.size ? `?${search}` : ""}`;
  };

  async function call(name: OperationName, options: Options<OperationName> = {}): Promise<unknown> {
    const operation: Operation = OPERATIONS[name];
    const writes = operation.method !== "GET";
    let response;
    try {
      response = await fetch(address(name, options), {
        method: operation.method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(writes && { "content-type": "application/json", "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() }),
        },
        ...(writes && operation.method !== "DELETE" && { body: JSON.stringify(options.body ?? {}) }),
      });
    } catch (cause) {
      throw new HyperlaneError("UNAVAILABLE", `Cannot reach the control plane at ${url}.`, { cause });
    }
    const text = await response.text();
    const json = response.headers.get("content-type")?.includes("json");
    if (!response.ok) throw fromErrorBody(json ? JSON.parse(text) : null);
    return json ? JSON.parse(text) : text;
  }

  function stream(name: OperationName, options: Options<OperationName>, on: StreamEvents): Promise<Stream> {
    const { promise, resolve, reject } = Promise.withResolvers<Stream>();
    const ws = new WebSocket(address(name, options).replace(/^http/, "ws"), {
      headers: { ...options.headers, authorization: `Bearer ${token}` },
    } as never);
    ws.binaryType = "nodebuffer" as never;
    let error: HyperlaneError | undefined;
    let open = false;
    ws.onopen = () => {
      open = true;
      resolve({
        send: (type, payload) => void (ws.readyState === WebSocket.OPEN && ws.send(encodeMessage(type, payload))),
        close: () => ws.close(),
      });
    };
    ws.onmessage = ({ data }: MessageEvent<string | Buffer>) => {
      if (typeof data === "string") {
        const failed = (JSON.parse(data) as { error?: object }).error;
        if (failed) error = fromErrorBody(failed);
        else on.text?.(data);
      } else if (data[0] === F.ERROR) error = fromErrorBody(JSON.parse(data.subarray(1).toString()));
      else on.message(data[0]!, data.subarray(1));
    };
    ws.onclose = async () => {
      if (open) return on.close(error);
      // A refused WebSocket does not say why; the same as an ordinary call does.
      const why = await call(name, options).then(
        () => new HyperlaneError("UNAVAILABLE", "The control plane refused the live stream."),
        (e) => e,
      );
      reject(why);
    };
    return promise;
  }

  const methods = Object.fromEntries(
    (Object.keys(OPERATIONS) as OperationName[]).map((name) => [name, (options?: Options<OperationName>) => call(name, options)]),
  );
  return { ...methods, stream } as unknown as Client;
}
