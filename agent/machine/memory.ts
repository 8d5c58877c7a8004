/**
 * A machine's RAM and devices, kept with a snapshot of its disk, of the very same moment:
 *
 *   machines/ID/memory-SNAPSHOT/{devices,pages}   and base, where pages are the difference to it
 *   machines/ID/memory-SNAPSHOT/shape             what it takes to go on from it, as one word
 *
 * Files of saved memory are never written to again, so what two need is one file with two links.
 */
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/frames.ts";
import type { Channel } from "#agent/guest/channel.ts";
import type { Templates } from "#agent/templates/templates.ts";
import type { Origin, Vm } from "#runtimes/runtime.ts";
import { baseFile } from "./base.ts";
import type { Record } from "./record.ts";

const ASK_MS = 10_000;

type Deps = { recordsDir: string; templates: Templates };

/** work: keeps the disk; the bytes that takes. vm: null: it sleeps. Bytes of both. */
export async function keepMemory(
  { recordsDir, templates }: Deps,
  record: Record,
  snapshot: string,
  running: { vm: Vm; channel: Channel } | null,
  work: () => Promise<number>,
): Promise<number> {
  const { id, spec } = record.desired;
  if (!running && record.phase !== "standby") throw new HyperlaneError("STATE", "It does not run, so there is no memory to keep.");
  const dir = memoryDir(recordsDir, id, snapshot);
  rmSync(`${dir}.new`, { recursive: true, force: true });
  mkdirSync(`${dir}.new`, { mode: 0o700 });
  try {
    if (running) {
      // A paused one answers nobody; its disk is as it would be after a crash, and its memory has the rest.
      for (const on of record.phase === "running" ? [1, 0] : []) await running.channel.ask(F.FREEZE, Buffer.from([on]), ASK_MS);
      await running.vm.save({ devices: `${dir}.new/devices`, pages: `${dir}.new/pages`, whole: null }, spec.memoryMib);
    } else
      for (const file of readdirSync(`${recordsDir}/${id}/asleep`)) linkSync(`${recordsDir}/${id}/asleep/${file}`, `${dir}.new/${file}`);
    const base = baseFile(recordsDir, id);
    if (existsSync(base)) linkSync(base, `${dir}.new/base`);
    writeFileSync(`${dir}.new/shape`, templates.keyFor({ cpu: spec.cpu, memoryMib: spec.memoryMib, system: null }));
    const bytes = await work();
    rmSync(dir, { recursive: true, force: true });
    renameSync(`${dir}.new`, dir);
    return bytes + readdirSync(dir).reduce((sum, file) => sum + statSync(`${dir}/${file}`).blocks * 512, 0);
  } finally {
    rmSync(`${dir}.new`, { recursive: true, force: true });
    if (running && record.phase === "running") await running.vm.resume();
  }
}

/** null: that snapshot keeps no memory, or the machine or its node is another by now, so that it boots from the disk. */
export async function keptMemory(
  { recordsDir, templates }: Deps,
  { desired: { id, spec } }: Record,
  snapshot: string,
): Promise<{ origin: Origin; base: string } | null> {
  const dir = memoryDir(recordsDir, id, snapshot);
  const shape = templates.keyFor({ cpu: spec.cpu, memoryMib: spec.memoryMib, system: null });
  if (!existsSync(`${dir}/shape`) || readFileSync(`${dir}/shape`, "utf8") !== shape) return null;
  const [own, based] = [existsSync(`${dir}/pages`), existsSync(`${dir}/base`)];
  const base = based ? `${dir}/base` : `${dir}/pages`;
  const memory = await templates.memoryOf(base, spec.memoryMib);
  return { origin: { memory, devices: `${dir}/devices`, own: based && own ? `${dir}/pages` : null, paused: false }, base };
}

export function dropMemory({ recordsDir, templates }: Deps, id: string, snapshot: string): void {
  const dir = memoryDir(recordsDir, id, snapshot);
  for (const file of ["base", "pages"]) templates.release(`${dir}/${file}`);
  rmSync(dir, { recursive: true, force: true });
}

function memoryDir(recordsDir: string, id: string, snapshot: string): string {
  return `${recordsDir}/${id}/memory-${snapshot}`;
}
