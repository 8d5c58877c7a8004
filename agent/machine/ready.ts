/** Waiting for a started machine: until it is up, has ended, or took too long. */
import { HyperlaneError } from "#contract/errors.ts";
import type { GuestLink } from "#agent/guest/link.ts";
import type { Vm } from "#runtimes/driver.ts";

const LOOK_MS = 500;

/** What the guest says of its start. */
export type StartListener = { up(): void; refused(error: Error): void };

/** listen: hands out what is to be told. consoleSays: for the error. */
export async function untilReady(
  vm: Vm,
  guest: GuestLink,
  listen: (listener: StartListener | undefined) => void,
  { signal, timeoutMs, consoleSays }: { signal: AbortSignal; timeoutMs: number; consoleSays(): string },
): Promise<"up" | "ended"> {
  const { promise, resolve, reject } = Promise.withResolvers<"up" | "ended">();
  const timer = setTimeout(
    () => reject(new HyperlaneError("TIMEOUT", `It did not become ready within ${timeoutMs / 1000} s; its console says: ${consoleSays()}`)),
    timeoutMs,
  );
  const look = async (): Promise<void> => {
    const state = await vm.state().catch(() => "gone");
    if (state === "gone" || state === "off" || state === "internal-error") resolve("ended");
  };
  const poll = setInterval(look, LOOK_MS);
  vm.onChange(() => void look());
  signal.addEventListener("abort", () => reject(new Error("interrupted")));
  listen({
    up: () => resolve("up"),
    refused: (error) => reject(new HyperlaneError("FAILED", `${error.message}; its console says: ${consoleSays()}`)),
  });
  if (guest.up) resolve("up");
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    clearInterval(poll);
    listen(undefined);
  }
}
