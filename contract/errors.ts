/** Every error a user can meet: one class, one table. The code is stable and is what scripts match on. */

/** grpc: the numeric gRPC status. exit: the exit code of `vps`. hint: what to do next, when the thrower knows nothing better. */
export const ERRORS = {
  INVALID: { http: 400, grpc: 3, exit: 2, hint: "Correct the named field and try again." },
  USAGE: { http: 400, grpc: 3, exit: 2, hint: "Run the command with --help to see how it is used." },
  UNAUTHENTICATED: {
    http: 401,
    grpc: 16,
    exit: 4,
    hint: "Set HYPERLANE_TOKEN, or run `hyperlane init` on the host: it makes a token where there is no good one.",
  },
  FORBIDDEN: { http: 403, grpc: 7, exit: 4, hint: "Use a token with the admin role." },
  NOT_FOUND: { http: 404, grpc: 5, exit: 5, hint: "Run `vps list` to see what there is." },
  CONFLICT: { http: 409, grpc: 6, exit: 6, hint: "Choose another name, or remove what is in the way." },
  STATE: { http: 409, grpc: 9, exit: 6, hint: "Run `vps show NAME` to see the machine's state." },
  TOO_LARGE: { http: 413, grpc: 8, exit: 2, hint: "Send less." },
  NO_CAPACITY: { http: 409, grpc: 8, exit: 7, hint: "Run `vps node list` to see what is free." },
  NO_SPACE: { http: 507, grpc: 8, exit: 7, hint: "Free disk space on the node: `vps doctor` says where." },
  FAILED: { http: 500, grpc: 13, exit: 1, hint: "Run `vps show NAME` and `vps logs NAME` to see why." },
  TIMEOUT: { http: 504, grpc: 4, exit: 124, hint: "It goes on in the background: `vps show NAME` tells how far it is." },
  UNAVAILABLE: { http: 503, grpc: 14, exit: 8, hint: "Run `hyperlane start` on the host, then `vps doctor`." },
  UNSUPPORTED: { http: 409, grpc: 12, exit: 1, hint: "Run `vps doctor` to see what this host offers." },
  CORRUPT: { http: 500, grpc: 15, exit: 9, hint: "Run `hyperlane recover` to go back to the last good event." },
  BUG: { http: 500, grpc: 13, exit: 3, hint: "This is our mistake: please report it with the text above." },
} as const satisfies Record<string, { http: number; grpc: number; exit: number; hint: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** How an error travels: the body of every non-2xx answer, and of `--json` failures. */
export type ErrorBody = { code: ErrorCode; message: string; hint: string; field?: string };

export class HyperlaneError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly field: string | undefined;
  constructor(code: ErrorCode, message: string, more: { hint?: string; field?: string; cause?: unknown } = {}) {
    super(message, { cause: more.cause });
    this.code = code;
    this.hint = more.hint ?? ERRORS[code].hint;
    this.field = more.field;
  }
  toJSON(): ErrorBody {
    return { code: this.code, message: this.message, hint: this.hint, ...(this.field !== undefined && { field: this.field }) };
  }
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code);
}

/** Anything thrown, as one of ours. What we did not foresee is a BUG and keeps its cause. */
export function toHyperlaneError(thrown: unknown): HyperlaneError {
  if (thrown instanceof HyperlaneError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new HyperlaneError("BUG", message, { cause: thrown });
}

export function fromErrorBody(body: unknown, fallback: ErrorCode = "FAILED"): HyperlaneError {
  const b = body as Partial<ErrorBody> | null;
  if (!b || typeof b.message !== "string") return new HyperlaneError(fallback, "The answer could not be read.");
  return new HyperlaneError(isErrorCode(b.code) ? b.code : fallback, b.message, { hint: b.hint, field: b.field });
}

/** An invariant of ours. A failing one is a bug, and stops what is going on rather than go on wrongly. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new HyperlaneError("BUG", `Broken invariant: ${message}`);
}
