/**
 * Spares: machines that went on from a template before anybody asked, have rehearsed (guest/still.c), and then stand still
 * until one is needed. They are made while nothing else goes on, as demand.ts says. They are nobody's: an agent that
 * starts removes what is left of them.
 */
import { rmSync, statSync } from "node:fs";
import { HyperlaneError, toHyperlaneError } from "#contract/errors.ts";
import { F } from "#contract/wire/messages.ts";
import { rehearsal } from "#agent/guest/identity.ts";
import { removeCgroup } from "#agent/host/cgroup.ts";
import { end, isAlive } from "#agent/host/process.ts";
import type { Turns } from "#agent/host/turns.ts";
import { fill } from "#agent/storage/storage.ts";
import type { Vm } from "#runtimes/driver.ts";
import { anonymous, connect, nobodysId, REPORTED_MS, type BuildDeps } from "./build.ts";
import { FORGET_MS, planSpares, type Start } from "./demand.ts";
import type { Shape } from "./shape.ts";
import type { Template, Templates } from "./templates.ts";

/** base: the inode of what its RAM is the difference to. */
export type Spare = { id: string; key: string; uid: number; memoryMib: number; base: number; vm: Vm };
export type Spares = ReturnType<typeof openSpares>;

type Deps = BuildDeps & {
  /** For what lasts no longer than a rehearsal. */
  dir: string;
  templates: Templates;
  image(rootfs: string): string | null;
  /** RAM that no machine was promised. */
  roomMib(): number;
  /** Users that machines' VMMs have. */
  uids(): (number | null)[];
  /** Machines that start, which come first. */
  starts: Turns;
  log(line: string): void;
};
/** rootfs: of whom was started last, for the rehearsal to be of that kind. starting: how many are. */
type Wanted = { shape: Shape; rootfs: string; starting: number; starts: Start[] };

/** Whoever has just started machines wants to use them. */
const QUIET_MS = 250;
const COME_UP_MS = 30_000;
/** What could not be made is not tried again for so long. */
const AGAIN_MS = 10_000;
const DISK_MIB = 64;
/** Above those of slots. */
const UID_BASE = 1_000_000;

export function openSpares(deps: Deps) {
  rmSync(deps.dir, { recursive: true, force: true });
  const spares = new Map<string, Spare>();
  const wanted = new Map<string, Wanted>();
  const ending = new AbortController();
  let making: Promise<void> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failedAt = -Infinity;
  const listeners = new Set<() => void>();
  const changed = (): void => listeners.forEach((l) => l());

  function wake(): void {
    clearTimeout(timer);
    if (!ending.signal.aborted) timer = setTimeout(() => (making ??= keep().finally(() => (making = undefined))), QUIET_MS);
  }

  /** Ends those that are too many, and makes those that are missing, until somebody starts a machine. */
  async function keep(): Promise<void> {
    for (let last = false; !last;) {
      const now = Date.now();
      for (const [key, { starting, starts }] of wanted)
        if (!starting && (now - starts.at(-1)!.at > FORGET_MS || !deps.templates.has(key))) wanted.delete(key);
      const demands = [...wanted].map(([key, { shape, starts }]) => ({ key, memoryMib: shape.memoryMib, starts }));
      const { dismiss, make } = planSpares(demands, [...spares.values()], deps.roomMib(), now);
      for (const id of dismiss) await dismissSpare(deps, pop(id));
      const rests = !deps.starts.idle || now - failedAt < AGAIN_MS || ending.signal.aborted;
      last = make === null || rests || !(await add(make));
    }
  }

  function pop(id: string): Spare {
    const spare = spares.get(id)!;
    spares.delete(id);
    changed();
    return spare;
  }

  /** One that has died is none. It stands still once its guest has nothing left to do. */
  function put(spare: Spare): void {
    spares.set(spare.id, spare);
    setTimeout(() => void (spares.has(spare.id) && spare.vm.pause().catch(() => {})), REPORTED_MS);
    spare.vm.onChange((what) => {
      if (what !== "gone" || spares.get(spare.id) !== spare) return;
      void dismissSpare(deps, pop(spare.id));
      wake();
    });
    changed();
  }

  /** false: not now. */
  async function add(key: string): Promise<boolean> {
    const { shape, rootfs } = wanted.get(key)!;
    const [template, image] = [await deps.templates.find(shape, false), deps.image(rootfs)];
    if (template?.key !== key || image === null) return false;
    try {
      put(await makeSpare(deps, shape, template, image, freeUid(), ending.signal));
      return true;
    } catch (thrown) {
      failedAt = Date.now();
      if (!ending.signal.aborted) deps.log(`No spare could be made: ${toHyperlaneError(thrown).message}`);
      return false;
    }
  }

  function freeUid(): number {
    const used = new Set([...deps.uids(), ...[...spares.values()].map((s) => s.uid)]);
    let uid = UID_BASE;
    while (used.has(uid)) uid++;
    return uid;
  }

  return {
    /** One that went on from this template, to be anybody's; null: there is none. */
    take(template: Pick<Template, "key" | "base">): Spare | null {
      for (const { id, key } of spares.values()) {
        if (key !== template.key) continue;
        const spare = pop(id);
        if (isAlive(spare.vm.process) && statSync(template.base).ino === spare.base) return spare;
        void dismissSpare(deps, spare);
      }
      return null;
    },
    /** It is a machine now: what it had under its own name goes. */
    forget: ({ id }: Spare): Promise<void> => clear(deps, id),
    dismiss: (spare: Spare): Promise<void> => dismissSpare(deps, spare),
    /** A machine of this shape starts; call the result once it has. */
    started(key: string, shape: Shape, rootfs: string): () => void {
      const at = Date.now();
      const before = wanted.get(key) ?? { starting: 0, starts: [] };
      const starting = before.starting + 1;
      const starts = [...before.starts.filter((s) => at - s.at < FORGET_MS), { at, beside: starting }];
      wanted.set(key, { shape, rootfs, starting, starts });
      return () => {
        const now = wanted.get(key);
        if (now) now.starting--;
        wake();
      };
    },
    /** Has it look whether there are as many as there should be. */
    wake,
    onChange(listener: () => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    count: (key: string): number => [...spares.values()].filter((s) => s.key === key).length,
    async close(): Promise<void> {
      clearTimeout(timer);
      ending.abort(new HyperlaneError("UNAVAILABLE", "The agent ends."));
      await making;
      for (const id of [...spares.keys()]) await dismissSpare(deps, pop(id));
    },
  };
}

async function makeSpare(deps: Deps, shape: Shape, template: Template, image: string, uid: number, signal: AbortSignal): Promise<Spare> {
  const id = nobodysId();
  const runDir = `${deps.runDir}/${id}`;
  const work = `${deps.dir}/${id}`;
  await using undo = new AsyncDisposableStack();
  await using meanwhile = new AsyncDisposableStack();
  meanwhile.defer(() => rmSync(work, { recursive: true, force: true }));
  await fill(deps.dir, `${work}/disk`, id, DISK_MIB, uid, null);
  undo.defer(() => clear(deps, id));
  await deps.network.attachSpare(id, uid);
  const spec = anonymous(deps, shape, { id, runDir, uid, image, disk: `${work}/disk`, from: template.origin });
  const vm = await deps.runtime.start(spec, signal);
  undo.defer(() => vm.detach());
  undo.defer(() => end(vm.process));
  const guest = await connect(deps.runtime.guest(runDir), meanwhile);
  await guest.reached(0, COME_UP_MS);
  await guest.channel.ask(F.FREEZE, rehearsal(deps.network.network), COME_UP_MS);
  signal.throwIfAborted();
  undo.move();
  return { id, key: template.key, uid, memoryMib: shape.memoryMib, base: statSync(template.base).ino, vm };
}

async function dismissSpare(deps: Deps, { id, vm }: Spare): Promise<void> {
  await end(vm.process);
  vm.detach();
  await clear(deps, id);
}

/** What is on the host under a spare's name; nothing, once it is a machine's. */
async function clear({ node, runDir, network, log }: Deps, id: string): Promise<void> {
  await network.detach(id).catch((thrown) => log(toHyperlaneError(thrown).message));
  rmSync(`${runDir}/${id}`, { recursive: true, force: true });
  await removeCgroup(`${node}.${id}`);
}
