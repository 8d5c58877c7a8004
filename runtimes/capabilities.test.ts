import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { CAPABILITIES, capabilitiesOf, DEFAULT_RUNTIME, isRuntime, type Capabilities } from "./capabilities.ts";

const ROWS: Record<keyof Capabilities, string> = {
  kind: "kind",
  cpuHotplug: "CPUs added while it runs",
  memoryHotplug: "RAM added while it runs",
  diskHotplug: "disks added while it runs",
  pause: "pause and resume",
  diskSnapshots: "disk snapshots",
  memorySnapshots: "snapshots with memory, standby",
  liveMigration: "live migration",
  moving: "`vps migrate`, disk included",
  gpu: "GPU passthrough",
  nested: "nested virtualization",
  ownInit: "images with an init of their own (systemd)",
  folders: "folders of the node",
  diskLimit: "the disk's size bounds what is written",
};

test("docs/runtimes.md shows the table as it is, line by line", () => {
  const page = readFileSync(`${import.meta.dirname}/../docs/runtimes.md`, "utf8");
  const names = Object.keys(CAPABILITIES) as (keyof typeof CAPABILITIES)[];
  const say = (value: string | boolean | null): string => (value === null ? "-" : value === true ? "yes" : value === false ? "no" : value);
  const rows = Object.entries(ROWS).map(
    ([key, title]) => `| ${title} | ${names.map((n) => say(CAPABILITIES[n][key as keyof Capabilities])).join(" | ")} |`,
  );
  expect(page).toContain([`| | ${names.join(" | ")} |`, `| ---${" | ---".repeat(names.length)} |`, ...rows].join("\n"));
});

test("one that is not named is the default, and what nobody knows can do no more", () => {
  expect(capabilitiesOf(null)).toBe(CAPABILITIES[DEFAULT_RUNTIME]);
  expect([isRuntime("docker"), isRuntime("toString")]).toEqual([true, false]);
});
