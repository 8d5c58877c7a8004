/**
 * A node's templates: each a folder named by all that it is made of (shape.ts), so that none can outlive a change of it.
 *
 *   KEY/devices  the VMM's devices        KEY/base  its RAM, a page file        KEY/disk  its disk, where it has one
 *   KEY/template.json  what it is, written last
 *
 * They are made in the background, one at a time, once somebody wanted one; whoever is first boots as ever.
 */
import { closeSync, existsSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { z } from "zod";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { TemplateShape, type TemplateStatus } from "#contract/resources/template.ts";
import { bytesIn, makeFolder, readOrNothing, writeFileDurably } from "#agent/host/files.ts";
import { shareMemory } from "#agent/host/memory.ts";
import type { Origin } from "#runtimes/driver.ts";
import { buildTemplate, type BuildDeps } from "./build.ts";
import { keyOf, type Ground, type Shape } from "./shape.ts";

export type Templates = ReturnType<typeof openTemplates>;
/** disk: a page file that the machine's disk is to be made of. */
export type Template = { key: string; origin: Origin; base: string; disk: string | null };

const Kept = z.object({
  shape: TemplateShape,
  createdAt: z.number(),
  bytes: z.number(),
});
/** What could not be made is not tried again for so long. */
const AGAIN_MS = 10 * 60_000;
/** Whoever has just started a machine wants to use it, and a CPU that makes a template is not theirs. */
const QUIET_MS = 10_000;
/** Unused for so long, it takes no memory any more but that of machines that run. */
const IDLE_MS = 10 * 60_000;
const UNUSED_MS = 7 * 86_400_000;

type Deps = Omit<BuildDeps, "places"> & {
  dir: string;
  ground: Ground;
  image(rootfs: string): string | null;
  log(line: string): void;
};

export function openTemplates(deps: Deps) {
  const { dir, ground } = deps;
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  const path = (key: string): string => `${dir}/${key}`;
  const read = (key: string) => Kept.safeParse(readOrNothing(`${path(key)}/template.json`)).data;
  const keys = (): string[] => readdirSync(dir).filter((k) => existsSync(`${path(k)}/template.json`));
  const whole = keys();
  for (const name of readdirSync(dir)) if (!whole.includes(name)) rmSync(path(name), { recursive: true, force: true });
  /** Memory that machines map, by the file it was read from. */
  const memories = new Map<number, Promise<number>>();
  const listeners = new Set<() => void>();
  const changed = (): void => listeners.forEach((l) => l());
  const failed = new Map<string, { reason: string; at: number; shape: Shape }>();
  /** now: somebody waits for it. */
  const wanted = new Map<string, { shape: Shape; now: boolean; done: PromiseWithResolvers<void> }>();
  let building: { key: string; done: Promise<void> } | undefined;
  const ending = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const keyFor = (shape: Shape): string => keyOf(ground, shape, (text) => new Bun.CryptoHasher("sha256").update(text).digest("hex"));

  /** A page file as memory to go on from; read once, however many machines do. */
  function memoryOf(file: string, memoryMib: number): Promise<number> {
    const inode = statSync(file).ino;
    const there = memories.get(inode) ?? shareMemory(file, memoryMib * 2 ** 20);
    memories.set(inode, there);
    there.catch(() => memories.delete(inode));
    return there;
  }

  async function load(shape: Shape): Promise<Template | null> {
    const key = keyFor(shape);
    const home = path(key);
    if (!read(key)) return null;
    try {
      const memory = (): Promise<number> => memoryOf(`${home}/base`, shape.memoryMib);
      await memory();
      const now = Date.now() / 1000;
      utimesSync(home, now, now);
      return {
        key,
        origin: { memory, devices: `${home}/devices`, own: null, paused: false },
        base: `${home}/base`,
        disk: shape.system && `${home}/disk`,
      };
    } catch (thrown) {
      spoil(key, toHyperlaneError(thrown).message);
      return null;
    }
  }

  function remove(key: string): void {
    if (!/^[a-f0-9]{24}$/.test(key)) return;
    forget(`${path(key)}/base`);
    // Its description first: what is left is then no template.
    rmSync(`${path(key)}/template.json`, { force: true });
    rmSync(path(key), { recursive: true, force: true });
    failed.delete(key);
    changed();
  }

  /** Machines that map it keep it. */
  function forget(file: string): void {
    const inode = existsSync(file) ? statSync(file).ino : -1;
    void memories.get(inode)?.then(closeSync, () => {});
    memories.delete(inode);
  }

  function spoil(key: string, why: string): void {
    deps.log(`The template ${key} is of no use and is removed: ${why}`);
    remove(key);
  }

  function schedule(): void {
    clearTimeout(timer);
    const now = [...wanted.values()].some((w) => w.now);
    if (wanted.size && building === undefined) timer = setTimeout(() => void buildNext(), now ? 0 : QUIET_MS);
  }

  async function buildNext(): Promise<void> {
    const next = [...wanted].find(([, w]) => w.now) ?? [...wanted][0];
    const [key, { shape, done }] = next ?? [undefined, {} as never];
    if (key === undefined || building !== undefined || ending.signal.aborted) return;
    const over = Promise.withResolvers<void>();
    building = { key, done: over.promise };
    changed();
    try {
      await build(key, shape);
      failed.delete(key);
      done.resolve();
    } catch (thrown) {
      const { message } = toHyperlaneError(thrown);
      failed.set(key, { reason: message, at: Date.now(), shape });
      deps.log(`The template ${key} could not be made: ${message}`);
      done.reject(thrown);
    }
    wanted.delete(key);
    building = undefined;
    over.resolve();
    changed();
    schedule();
  }

  async function build(key: string, shape: Shape): Promise<void> {
    const { system } = shape;
    const from = system && (await load({ ...shape, system: null }));
    const image = system && deps.image(system.rootfs);
    if (system && !image) throw new HyperlaneError("NOT_FOUND", "Its image is not on this node.");
    await makeFolder(path(key), 0o711, async (next) => {
      await buildTemplate({ ...deps, places: ground.places }, shape, next, { image, from }, ending.signal);
      const kept: z.infer<typeof Kept> = { shape, createdAt: Date.now(), bytes: bytesIn(next) };
      writeFileDurably(`${next}/template.json`, JSON.stringify(kept));
    });
  }

  /** Asks for one to be made: at once, or when nothing has started for a while. */
  function want(shape: Shape, now: boolean): Promise<void> {
    const key = keyFor(shape);
    const wish = wanted.get(key) ?? { shape, now, done: Promise.withResolvers<void>() };
    if (!wanted.has(key) && read(key)) return Promise.resolve();
    wish.done.promise.catch(() => {});
    wish.now ||= now;
    wanted.set(key, wish);
    schedule();
    return wish.done.promise;
  }

  return {
    /** The best to go on from: of the image's whole system, where the disk is still to be made; of a kernel; or none yet. */
    async find(shape: Shape, newDisk: boolean): Promise<Template | null> {
      const blank: Shape = { ...shape, system: null };
      const shapes = shape.system && newDisk ? [shape, blank] : [blank];
      for (const s of shapes) {
        const found = await load(s);
        if (found) return found;
      }
      return null;
    },
    /** As `find` would have liked it: made in the background, if it is not there and did not fail a while ago. */
    wish(shape: Shape): void {
      for (const s of shape.system ? [{ ...shape, system: null }, shape] : [shape])
        if (Date.now() - (failed.get(keyFor(s))?.at ?? 0) > AGAIN_MS) void want(s, false).catch(() => {});
      schedule();
    },
    /** Makes it now. Its key. */
    async build(shape: Shape): Promise<string> {
      if (shape.system) await want({ ...shape, system: null }, true);
      await want(shape, true);
      return keyFor(shape);
    },
    has: (key: string): boolean => read(key) !== undefined,
    spoil,
    remove,
    onChange(listener: () => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    /** Keeps a template's memory for a machine, whatever becomes of the template. */
    keep(template: Pick<Template, "base">, file: string): void {
      rmSync(file, { force: true });
      linkSync(template.base, file);
    },
    memoryOf,
    keyFor,
    /** A machine's link to what its memory is based on goes; if that was its own, so does the memory. */
    release(file: string): void {
      if (existsSync(file) && statSync(file).nlink === 1) forget(file);
      rmSync(file, { force: true });
    },
    /** Those that nobody has used for long, those of images that are gone, and those of another ground. */
    prune(rootfs: readonly string[]): void {
      for (const key of keys()) {
        const { shape } = read(key)!;
        const stale = keyFor(shape) !== key || (shape.system && !rootfs.includes(shape.system.rootfs));
        const unusedMs = Date.now() - statSync(path(key)).mtimeMs;
        if (stale || unusedMs > UNUSED_MS) remove(key);
        else if (unusedMs > IDLE_MS) forget(`${path(key)}/base`);
      }
    },
    /** Breaks off what is being made. */
    async close(): Promise<void> {
      clearTimeout(timer);
      ending.abort(new HyperlaneError("UNAVAILABLE", "The agent ends."));
      await building?.done;
    },
    list(): TemplateStatus[] {
      const ready = keys().flatMap((key) => {
        const kept = read(key);
        if (!kept) return [];
        const { shape, createdAt, bytes } = kept;
        return [{ ...statusOf(key, shape, "ready", null), createdAt, bytes }];
      });
      const others = [...wanted].map(([key, { shape }]) => statusOf(key, shape, key === building?.key ? "building" : "waiting", null));
      const broken = [...failed].filter(([key]) => !wanted.has(key)).map(([key, f]) => statusOf(key, f.shape, "failed", f.reason));
      return [...ready, ...others, ...broken];
    },
  };
}

function statusOf(key: string, { cpu, memoryMib, system }: Shape, state: TemplateStatus["state"], reason: string | null): TemplateStatus {
  const { rootfs = null, diskMib = null } = system ?? {};
  return { key, rootfs, cpu, memoryMib, diskMib, bytes: 0, createdAt: 0, spares: 0, state, reason };
}
