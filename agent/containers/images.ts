/** Images as a Docker engine has them, each under one name of ours; somebody else may remove them behind our back. */
import { HyperlaneError } from "#contract/errors.ts";
import { chainIdOf, rootfsFor } from "#contract/wire/agent.ts";
import type { ImageKind } from "#agent/images/store.ts";
import { archiveOf } from "#runtimes/docker/archive.ts";
import { query } from "#runtimes/docker/command.ts";
import { documents, type Engine } from "#runtimes/docker/engine.ts";

const REPOSITORY = "hyperlane/image";
const nameOf = (rootfs: string): string => `${REPOSITORY}:${chainIdOf(rootfs)}`;

type Listed = { RepoTags: string[] | null; Size: number };

export function openEngineImages(engine: Engine): ImageKind & { refresh(): Promise<void> } {
  let there = new Map<string, number>();

  async function refresh(): Promise<void> {
    const filters = JSON.stringify({ reference: [REPOSITORY] });
    const listed = await engine.call<Listed[]>("GET", `/images/json${query({ filters })}`);
    there = new Map(listed.flatMap((i) => (i.RepoTags ?? []).map((tag) => [rootfsFor(tag.split(":")[1]!, "docker"), i.Size])));
  }

  return {
    refresh,
    list: () => [...there].map(([rootfs, bytes]) => ({ rootfs, bytes })),
    find: (rootfs) => (there.has(rootfs) ? nameOf(rootfs) : null),
    async make({ rootfs, layers }, blobs) {
      const answer = await engine.stream(
        "POST",
        `/images/load${query({ quiet: true })}`,
        archiveOf({ name: nameOf(rootfs), layers, blobs }),
      );
      for await (const { error } of documents<{ error?: string }>(answer))
        if (error !== undefined)
          throw new HyperlaneError(/no space left/.test(error) ? "NO_SPACE" : "FAILED", `Docker did not take the image: ${error}`);
      await refresh();
      return { again: false };
    },
    remove(rootfs) {
      there.delete(rootfs);
      // One that a container still uses stays until that is gone.
      engine.call("DELETE", `/images/${nameOf(rootfs)}`).catch(() => {});
    },
  };
}
