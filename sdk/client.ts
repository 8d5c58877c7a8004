/** The TypeScript client, derived from the operation table: `client.getMachine({ params: { machine: "api" } })`. */
import { fromErrorBody, HyperlaneError } from "#contract/errors.ts";
import { OPERATIONS, pathOf, type Operation, type OperationName } from "#contract/operations.ts";
import type { BodyInput, Output } from "#contract/schemas.ts";
import { encodeMessage, F } from "#contract/wire/messages.ts";

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
export type StreamEvents = {
  message(type: number, payload: Uint8Array): void;
  text?(text: string): void;
  close(error?: HyperlaneError): void;
};
export type Stream = { send(type: number, payload: Uint8Array): void; close(): void };

/** token: null in a browser that has a session: its cookie then says who asks. */
export function createClient({ url, token }: { url: string; token: string | null }): Client {
  const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
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
          ...authorization,
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
    // A browser's WebSocket takes no headers.
    const headers = { ...options.headers, ...authorization };
    const ws = new WebSocket(address(name, options).replace(/^http/, "ws"), (Object.keys(headers).length ? { headers } : []) as never);
    ws.binaryType = "arraybuffer";
    let error: HyperlaneError | undefined;
    let open = false;
    ws.onopen = () => {
      open = true;
      resolve({
        send: (type, payload) => void (ws.readyState === WebSocket.OPEN && ws.send(encodeMessage(type, payload))),
        close: () => ws.close(),
      });
    };
    ws.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === "string") {
        const failed = data.startsWith('{"error":') ? (JSON.parse(data) as { error: object }).error : undefined;
        if (failed) error = fromErrorBody(failed);
        else on.text?.(data);
        return;
      }
      const [type = 0, payload] = [new Uint8Array(data, 0, 1)[0], new Uint8Array(data, 1)];
      if (type === F.ERROR) error = fromErrorBody(JSON.parse(new TextDecoder().decode(payload)));
      else on.message(type, payload);
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
