import { expect, test } from "bun:test";
import { changedHealth, runConfigOf } from "#contract/resources/image.ts";
import { nextHealth, type HealthState } from "./health.ts";

const health = { argv: ["true"], intervalMs: 1000, timeoutMs: 1000, startPeriodMs: 5000, retries: 3 };

/** "+" a success, "-" a failure, one a second: how it stands after each. */
function course(results: string): string[] {
  let state: HealthState = { status: "starting", failures: 0 };
  return [...results].map((r, i) => (state = nextHealth(state, r === "+", (i + 1) * 1000, health)).status);
}

test("healthy with the first success; unhealthy after so many failures in a row, which do not count while it starts", () => {
  expect(course("----+")).toEqual(["starting", "starting", "starting", "starting", "healthy"]);
  expect(course("-------").slice(-3)).toEqual(["starting", "starting", "unhealthy"]);
  expect(course("+--+---+")).toEqual(["healthy", "healthy", "healthy", "healthy", "healthy", "healthy", "unhealthy", "healthy"]);
});

test("what the image says, and what is asked for over it", () => {
  const of = (Test: string[]) =>
    runConfigOf({ architecture: "", os: "", rootfs: { diff_ids: [] }, config: { Healthcheck: { Test, Interval: 5e9, Retries: 2 } } })
      .health;
  expect(of(["CMD", "check", "--all"])).toEqual({
    argv: ["check", "--all"],
    intervalMs: 5000,
    timeoutMs: 30_000,
    startPeriodMs: 0,
    retries: 2,
  });
  expect(of(["CMD-SHELL", "a && b"])?.argv).toEqual(["/bin/sh", "-c", "a && b"]);
  expect([of(["NONE"]), of([]), of(["CMD"])]).toEqual([null, null, null]);
  const image = of(["CMD", "x"]);
  expect(changedHealth(image, { command: null, off: true })).toBeNull();
  expect(changedHealth(image, { command: "y", off: false, retries: 9 })).toEqual({ ...image!, argv: ["/bin/sh", "-c", "y"], retries: 9 });
  expect(changedHealth(null, { command: null, off: false, retries: 9 })).toBeNull();
});
