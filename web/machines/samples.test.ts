import { expect, test } from "bun:test";
import { sampleOf, type Stats } from "./samples.ts";

const stats = (more: Partial<Stats>): Stats => ({
  uptimeS: 1,
  memoryMib: 512,
  memoryFreeMib: 412,
  load1: 0,
  diskMib: 1000,
  diskFreeMib: 900,
  cpuMs: 0,
  networkInBytes: 0,
  networkOutBytes: 0,
  ...more,
});

test("counters become rates; one that begins anew is no rate", () => {
  const before = { at: 10, stats: stats({ cpuMs: 1000, networkInBytes: 500 }) };
  expect(sampleOf(before, { at: 12, stats: stats({ cpuMs: 4000, networkInBytes: 2500, networkOutBytes: 10 }) })).toEqual({
    at: 12,
    cpu: 1.5,
    memory: 100,
    disk: 100,
    in: 1000,
    out: 5,
  });
  expect(sampleOf(before, { at: 12, stats: stats({ cpuMs: 20 }) })).toBeNull();
  expect(sampleOf(before, before)).toBeNull();
});
