/**
 * A machine's RAM and devices in a folder, and going on from there: for standby, and kept with a snapshot of its disk, of
 * the very same moment.
 *
 *   machines/ID/base                              what its RAM is the difference to: a template's, or its own whole RAM of before
 *   machines/ID/memory-SNAPSHOT/{devices,pages}   and base, where pages are the difference to it
 *   machines/ID/memory-SNAPSHOT/shape             what it takes to go on from it, as one word
 *
 * Files of saved memory are never written to again, so what two need is one file with two links.
 */
import { existsSync, linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/messages.ts";
import type { Channel } from "#agent/guest/channel.ts";
import { bytesIn, makeFolder } from "#agent/host/files.ts";
import type { Templates } from "#agent/templates/templates.ts";
import { DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";
import type { Driver, Origin, Vm } from "#runtimes/driver.ts";
import type { Record } from "./record.ts";

const ASK_MS = 10_000;

type Deps = { recordsDir: string; templates: Templates; vmm: Pick<Driver, "name" | "savesWhole" | "version"> };
type Running = { vm: Vm; channel: Channel };

/** As long as a machine runs or sleeps, it must be there. */
export function baseFile(recordsDir: string, id: string): string {
  return `${recordsDir}/${id}/base`;
}

export function asleepDir(recordsDir: string, id: string): string {
  return `${recordsDir}/${id}/asleep`;
}

/** Stops it where it stands. What it has written is then in its disk as well. */
export async function writeMemory(deps: Deps, { vm, channel }: Running, { phase, desired }: Record, dir: string): Promise<void> {
  if (deps.vmm.savesWhole) deps.templates.release(baseFile(deps.recordsDir, desired.id));
  // A paused one answers nobody; its disk is as it would be after a crash, and its memory has the rest.
  for (const on of phase === "running" ? [1, 0] : []) await channel.ask(F.FREEZE, Buffer.from([on]), ASK_MS);
  await vm.save({ devices: `${dir}/devices`, pages: `${dir}/pages`, whole: null }, desired.spec.memoryMib);
}

/** base: what the pages there are the difference to; or they themselves. */
export function originIn({ templates }: Pick<Deps, "templates">, dir: string, base: string, memoryMib: number): Omit<Origin, "paused"> {
  const pages = `${dir}/pages`;
  return {
    memory: () => templates.memoryOf(base, memoryMib),
    devices: `${dir}/devices`,
    own: base !== pages && existsSync(pages) ? pages : null,
  };
}

/** work: keeps the disk; the bytes that takes. running: null: it sleeps. Bytes of both. */
export async function keepMemory(
  deps: Deps,
  record: Record,
  snapshot: string,
  running: Running | null,
  work: () => Promise<number>,
): Promise<number> {
  const { recordsDir } = deps;
  const { id } = record.desired;
  if (!running && record.phase !== "standby") throw new HyperlaneError("STATE", "It does not run, so there is no memory to keep.");
  const asleep = asleepDir(recordsDir, id);
  try {
    return await makeFolder(memoryDir(recordsDir, id, snapshot), 0o700, async (next) => {
      if (running) await writeMemory(deps, running, record, next);
      else for (const file of readdirSync(asleep)) linkSync(`${asleep}/${file}`, `${next}/${file}`);
      const base = baseFile(recordsDir, id);
      if (existsSync(base)) linkSync(base, `${next}/base`);
      writeFileSync(`${next}/shape`, await shapeOf(deps, record));
      return (await work()) + bytesIn(next);
    });
  } finally {
    if (running && record.phase === "running") await running.vm.resume();
  }
}

/** null: that snapshot keeps no memory, or the machine or its node is another by now, so that it boots from the disk. */
export async function keptMemory(deps: Deps, record: Record, snapshot: string): Promise<{ origin: Origin; base: string } | null> {
  const { id, spec } = record.desired;
  const dir = memoryDir(deps.recordsDir, id, snapshot);
  if (!existsSync(`${dir}/shape`) || readFileSync(`${dir}/shape`, "utf8") !== (await shapeOf(deps, record))) return null;
  const base = existsSync(`${dir}/base`) ? `${dir}/base` : `${dir}/pages`;
  return { origin: { ...originIn(deps, dir, base, spec.memoryMib), paused: false }, base };
}

/** Of what a machine's memory can go on in. */
async function shapeOf({ templates, vmm }: Deps, { desired: { spec } }: Record): Promise<string> {
  const key = templates.keyFor({ cpu: spec.cpu, memoryMib: spec.memoryMib, system: null });
  return vmm.name === DEFAULT_RUNTIME ? key : `${key} ${vmm.name} ${await vmm.version()}`;
}

export function dropMemory({ recordsDir, templates }: Omit<Deps, "vmm">, id: string, snapshot: string): void {
  const dir = memoryDir(recordsDir, id, snapshot);
  for (const file of ["base", "pages"]) templates.release(`${dir}/${file}`);
  rmSync(dir, { recursive: true, force: true });
}

function memoryDir(recordsDir: string, id: string, snapshot: string): string {
  return `${recordsDir}/${id}/memory-${snapshot}`;
}
