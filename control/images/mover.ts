/**
 * Images on their way between the blob store, registries and nodes. The planner says again and again what is to be
 * moved; each move happens once at a time, and one that failed is tried again after a while.
 */
import { createReadStream } from "node:fs";
import { createGzip } from "node:zlib";
import { HyperlaneError, invariant, toHyperlaneError } from "#contract/errors.ts";
import { MEDIA, type Manifest } from "#contract/oci/manifest.ts";
import { parseReference, type Reference } from "#contract/oci/reference.ts";
import type { ImageHead } from "#contract/wire/agent.ts";
import { imageNamed, type NewEvent, type State } from "#control/model/state.ts";
import { createRegistry, type Registry } from "#oci/client.ts";
import type { Credentials } from "#oci/session.ts";
import type { Blobs } from "#oci/blobs.ts";
import { through } from "#oci/through.ts";
import { blobsOf, createTransfers, endpointsOf, loadImage, type OnProgress } from "#oci/transfer.ts";
import { describeTarget, reachable } from "./catalog.ts";

type Agents = {
  putImage(node: string, head: ImageHead, blobs: AsyncIterable<Uint8Array>): Promise<{ again: boolean }>;
  commit(node: string, machine: string): AsyncIterable<Uint8Array>;
};
export type Registries = { mirrors: Readonly<Record<string, readonly string[]>>; insecure: readonly string[] };
type Deps = {
  blobs: Blobs;
  state(): State;
  append(events: NewEvent[]): Promise<unknown>;
  newId(kind: "i"): string;
  agents: Agents;
  registries: Registries;
  log(line: string): void;
};
export type Mover = ReturnType<typeof createMover>;
type Move =
  { kind: "sendImage"; node: string; rootfs: string; digest: string } | { kind: "commit"; node: string; machine: string; image: string };

const RETRY_MS = 5_000;
const COLLECT_MS = 1_000;
const CHUNK_BYTES = 256 * 1024;
const BUSY = Infinity;

export function createMover(deps: Deps) {
  const { blobs, agents } = deps;
  const transfers = createTransfers(blobs);
  /** When each move may be tried next. */
  const next = new Map<string, number>();

  let collecting: ReturnType<typeof setTimeout> | undefined;

  function collect(): void {
    collecting = undefined;
    try {
      blobs.sweep(reachable(deps.state(), blobs));
    } catch (thrown) {
      deps.log(`images: ${toHyperlaneError(thrown).message}`);
    }
  }

  function moveImage(move: Move): void {
    const key = move.kind === "sendImage" ? `${move.node} ${move.rootfs}` : move.image;
    if ((next.get(key) ?? 0) > Date.now()) return;
    next.set(key, BUSY);
    (move.kind === "sendImage" ? send(move) : commit(move)).then(
      // The node reports what it has now; until then it is not sent again.
      () => void next.set(key, Date.now() + RETRY_MS),
      (thrown) => {
        next.set(key, Date.now() + RETRY_MS);
        deps.log(`image: ${toHyperlaneError(thrown).message}`);
      },
    );
  }

  async function send({ node, rootfs, digest }: { node: string; rootfs: string; digest: string }): Promise<void> {
    const { manifest, config } = loadImage(blobs, digest, digest);
    const layers = manifest.layers.map((l, i) => ({ digest: l.digest, diffId: config.rootfs.diff_ids[i]!, size: l.size }));
    const once = (keepAll: boolean) => agents.putImage(node, { rootfs, keepAll, layers }, topFirst(layers));
    if ((await once(false)).again) await once(true);
  }

  async function* topFirst(layers: ImageHead["layers"]): AsyncGenerator<Uint8Array> {
    for (const { digest } of [...layers].reverse())
      yield* createReadStream(blobs.path(digest), { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>;
  }

  /** A new layer over the machine's image, and an image of both. */
  async function commit({ node, machine: id, image }: { node: string; machine: string; image: string }): Promise<void> {
    const machine = deps.state().machine.get(id)!;
    const before = deps.state().image.get(image)!;
    try {
      invariant(machine.image, "only what was made from an image becomes one");
      const base = loadImage(blobs, machine.image.digest, machine.spec.image);
      const unpacked = new Bun.CryptoHasher("sha256");
      blobs.ingest(`commit-${image}`).discard(); // of an attempt that did not come to its end
      const coming = blobs.ingest(`commit-${image}`);
      const tar = async function* () {
        for await (const bytes of agents.commit(node, id)) {
          unpacked.update(bytes as never);
          yield bytes;
        }
      };
      for await (const bytes of through(tar(), createGzip({ level: 1 }))) coming.write(bytes);
      const layer = { mediaType: MEDIA.layerGzip, digest: await coming.commit(), size: coming.size };
      const diffIds = [...base.config.rootfs.diff_ids, `sha256:${unpacked.digest("hex")}`];
      const created = new Date().toISOString();
      const config = {
        ...base.config,
        created,
        rootfs: { ...base.config.rootfs, diff_ids: diffIds },
        history: [...(base.config.history ?? []), { created, created_by: `vps image create --from ${machine.name}` }],
      };
      const configBytes = Buffer.from(JSON.stringify(config));
      const manifest = {
        schemaVersion: 2,
        mediaType: MEDIA.manifest,
        config: { mediaType: MEDIA.config, digest: blobs.put(configBytes), size: configBytes.length },
        layers: [...base.manifest.layers, layer],
      } satisfies Manifest;
      await keep(before.name, blobs.put(Buffer.from(JSON.stringify(manifest))), image);
    } catch (thrown) {
      const error = toHyperlaneError(thrown);
      // The node is not there now, but will be.
      if (error.code === "UNAVAILABLE") throw error;
      await deps.append([{ type: "v1.ImageFailed", subject: image, actor: "reconcile", data: { reason: error.message } }]);
    }
  }

  /** The name means this from now on. */
  async function keep(name: string, target: string, id: string | undefined, actor = "reconcile"): Promise<string> {
    const subject = id ?? imageNamed(deps.state(), name)?.id ?? deps.newId("i");
    const data = { name, ...describeTarget(blobs, target) };
    await deps.append([{ type: "v1.ImageStored", subject, actor, data }]);
    return subject;
  }

  /** Tries mirrors, then the registry itself; https, then http where that is allowed. */
  async function withRegistry<T>(
    reference: Reference,
    how: { insecure: boolean; push: boolean; credentials: Credentials | undefined; signal?: AbortSignal },
    work: (registry: Registry) => Promise<T>,
  ): Promise<T> {
    const { mirrors, insecure } = deps.registries;
    const allowed = { mirrors: how.push ? {} : mirrors, insecure: how.insecure ? [...insecure, reference.registry] : insecure };
    let last: unknown;
    for (const { bases, mirror } of endpointsOf(reference.registry, allowed))
      for (const base of bases)
        try {
          if (bases.length > 1 && !(await answers(base))) continue;
          const credentials = mirror ? undefined : how.credentials;
          return await work(createRegistry({ base, credentials, push: how.push, ...(how.signal && { signal: how.signal }) }));
        } catch (thrown) {
          if (!mirror) throw thrown;
          last = thrown;
          deps.log(`mirror ${base}: ${toHyperlaneError(thrown).message}`);
        }
    throw (
      last ??
      new HyperlaneError("UNAVAILABLE", `Cannot reach the registry ${reference.registry}.`, {
        hint: "Is it started, and is the port right?",
      })
    );
  }

  return {
    blobs,
    moveImage,
    keep,
    async pull(
      name: string,
      how: { platform: string; insecure: boolean; credentials: Credentials | undefined; actor: string; signal: AbortSignal },
      on: OnProgress,
    ): Promise<string> {
      const reference = parseReference(name)!;
      const pulled = await withRegistry(reference, { ...how, push: false }, (registry) =>
        transfers.pull(registry, reference, how.platform, on, how.signal),
      );
      const id = await keep(name, pulled.digest, undefined, how.actor);
      blobs.release(blobsOf(pulled.digest, pulled.manifest));
      return id;
    },
    push: (
      name: string,
      digest: string,
      how: { insecure: boolean; credentials: Credentials | undefined },
      on: OnProgress,
    ): Promise<void> => {
      const reference = parseReference(name)!;
      return withRegistry(reference, { ...how, push: true }, (registry) => transfers.push(registry, reference, digest, on));
    },
    /** Its file system is on the node when this resolves. */
    async bring(node: string, image: { rootfs: string; digest: string }): Promise<void> {
      if (
        !deps
          .state()
          .node.get(node)
          ?.status?.images.some((i) => i.rootfs === image.rootfs)
      )
        await send({ node, ...image });
    },
    /** Removes what nothing refers to, a moment from now: what is going on in the log is done by then. */
    collectSoon(): void {
      collecting ??= setTimeout(collect, COLLECT_MS);
    },
    close: (): void => clearTimeout(collecting),
    /** What would be freed were these images gone. */
    freedBy(gone: ReadonlySet<string>): number {
      const state = deps.state();
      const rest = { ...state, image: new Map([...state.image].filter(([id]) => !gone.has(id))) };
      const keepers = reachable(rest, blobs);
      return [...reachable(state, blobs)].filter((d) => !keepers.has(d) && blobs.has(d)).reduce((n, d) => n + blobs.size(d), 0);
    },
  };
}

async function answers(base: string): Promise<boolean> {
  return await fetch(`${base}/v2/`, { signal: AbortSignal.timeout(10_000) }).then(
    (response) => (void response.body?.cancel(), true),
    () => false,
  );
}
