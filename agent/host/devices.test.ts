/** On a sysfs made for the test, in which writing does what the kernel does. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname } from "node:path";
import { openDevices, type Taken } from "./devices.ts";

const dirs: string[] = [];
let root: string;
/** Drivers that refuse, by name. */
let broken: Set<string>;
let writes: string[];

const GPU = "0000:01:00.0";
const AUDIO = "0000:01:00.1";
const NIC = "0000:02:00.0";
const NVME = "0000:03:00.0";

beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/hl-sys-`);
  dirs.push(root);
  broken = new Set();
  writes = [];
  for (const driver of ["nvidia", "snd_hda_intel", "e1000e", "nvme", "vfio-pci", "pcieport"])
    mkdirSync(`${root}/bus/pci/drivers/${driver}`, { recursive: true });
  device("0000:00:01.0", { class: "0x060400", group: 1, driver: "pcieport" });
  device(GPU, { class: "0x030000", group: 1, driver: "nvidia" });
  device(AUDIO, { class: "0x040300", group: 1, driver: "snd_hda_intel" });
  device(NIC, { class: "0x020000", group: 2, driver: "e1000e" });
  device(NVME, { class: "0x010802", group: 2, driver: "nvme" });
  device("0000:04:00.0", { class: "0x120000", group: null, driver: null });
});
afterAll(() => dirs.forEach((d) => rmSync(d, { recursive: true, force: true })));

function device(address: string, { class: c, group, driver }: { class: string; group: number | null; driver: string | null }): void {
  const at = `${root}/bus/pci/devices/${address}`;
  mkdirSync(at, { recursive: true });
  for (const [file, text] of Object.entries({ class: c, vendor: "0x10de", device: "0x2684", driver_override: "(null)" }))
    writeFileSync(`${at}/${file}`, `${text}\n`);
  if (group !== null) {
    mkdirSync(`${root}/kernel/iommu_groups/${group}`, { recursive: true });
    symlinkSync(`${root}/kernel/iommu_groups/${group}`, `${at}/iommu_group`);
  }
  if (driver !== null) symlinkSync(`${root}/bus/pci/drivers/${driver}`, `${at}/driver`);
}

const OWN: Record<string, string> = { [GPU]: "nvidia", [AUDIO]: "snd_hda_intel", [NIC]: "e1000e", [NVME]: "nvme" };
/** The kernel's side of it. */
function write(path: string, text: string): void {
  writes.push(`${path.slice(root.length)} ${text.trim()}`);
  if (path.endsWith("/driver/unbind")) return unlinkSync(dirname(path));
  if (!path.endsWith("drivers_probe")) return writeFileSync(path, text);
  const at = `${root}/bus/pci/devices/${text}`;
  const override = readFileSync(`${at}/driver_override`, "utf8").trim();
  const driver = override && override !== "(null)" ? override : OWN[text]!;
  if (!broken.has(`${driver} ${text}`)) symlinkSync(`${root}/bus/pci/drivers/${driver}`, `${at}/driver`);
}
const driver = (address: string): string | null => {
  const at = `${root}/bus/pci/devices/${address}/driver`;
  return existsSync(at) ? basename(readlinkSync(at)) : null;
};
const open = () => openDevices({ root, write });

test("what there is, and why it cannot be had", () => {
  expect(open().list()).toEqual([
    { address: GPU, kind: "gpu", class: "030000", vendor: "10de", device: "2684", driver: "nvidia", group: 1, unavailable: null },
    {
      address: AUDIO,
      kind: "other",
      class: "040300",
      vendor: "10de",
      device: "2684",
      driver: "snd_hda_intel",
      group: 1,
      unavailable: null,
    },
    {
      address: NIC,
      kind: "network",
      class: "020000",
      vendor: "10de",
      device: "2684",
      driver: "e1000e",
      group: 2,
      unavailable: `its IOMMU group 2 is shared with ${NVME}`,
    },
    {
      address: NVME,
      kind: "storage",
      class: "010802",
      vendor: "10de",
      device: "2684",
      driver: "nvme",
      group: 2,
      unavailable: `its IOMMU group 2 is shared with ${NIC}`,
    },
    {
      address: "0000:04:00.0",
      kind: "accelerator",
      class: "120000",
      vendor: "10de",
      device: "2684",
      driver: null,
      group: null,
      unavailable: expect.stringContaining("no IOMMU"),
    },
  ] as never);
  expect(openDevices({ root: "/nowhere" }).list()).toEqual([]);
});

test("a card goes with all its functions, and comes back to the drivers it had", () => {
  const noted: Taken[][] = [];
  const devices = open();
  const lent = devices.lend([GPU], (taken) => noted.push([...taken]));
  expect(lent).toEqual({ addresses: [GPU, AUDIO], groups: [1] });
  expect([driver(GPU), driver(AUDIO)]).toEqual(["vfio-pci", "vfio-pci"]);
  // Noted before it is done: whoever ends here can undo it.
  expect(noted).toEqual([
    [{ address: GPU, driver: "nvidia" }],
    [
      { address: GPU, driver: "nvidia" },
      { address: AUDIO, driver: "snd_hda_intel" },
    ],
  ]);
  devices.takeBack(noted.at(-1)!);
  expect([driver(GPU), driver(AUDIO)]).toEqual(["nvidia", "snd_hda_intel"]);
  const before = writes.length;
  devices.takeBack(noted.at(-1)!);
  expect(writes.slice(before).every((w) => w.includes("driver_override"))).toBe(true);
});

test("where one cannot be had, none is taken; what fails halfway is undone", () => {
  const devices = open();
  for (const [wanted, why] of [
    [[GPU, NIC], "is shared with"],
    [["0000:04:00.0"], "no IOMMU"],
    [["0000:09:00.0"], "no such device"],
  ] as const) {
    expect(() => devices.lend(wanted, () => {})).toThrow(why);
    expect(writes).toEqual([]);
  }
  broken.add(`vfio-pci ${AUDIO}`);
  let noted: readonly Taken[] = [];
  expect(() => devices.lend([GPU], (taken) => (noted = taken))).toThrow(`${AUDIO} cannot be handed to vfio-pci`);
  expect([driver(GPU), driver(AUDIO), noted]).toEqual(["nvidia", "snd_hda_intel", []]);
});

test("an agent that ends at any step leaves notes by which the next gives everything back", () => {
  for (let steps = 1; steps <= 6; steps++) {
    let noted: readonly Taken[] = [];
    let left = steps;
    const cut = openDevices({
      root,
      write(path, text) {
        if (left-- <= 0) throw new Error("ended");
        write(path, text);
      },
    });
    try {
      cut.lend([GPU], (taken) => void (left > 0 && (noted = taken)));
    } catch {
      // Its own rollback could not write either.
    }
    open().takeBack(noted);
    expect([steps, driver(GPU), driver(AUDIO)]).toEqual([steps, "nvidia", "snd_hda_intel"]);
  }
});
