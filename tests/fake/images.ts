/** Images of a pretended node. */
import type { FakeHost } from "./host.ts";

/** An agent's images on that host. */
export function createFakeImages(host: FakeHost) {
  const listeners = new Set<() => void>();
  return {
    async receive({ rootfs }: { rootfs: string }, blobs: AsyncIterable<Uint8Array>) {
      for await (const _ of blobs);
      host.images.add(rootfs);
      listeners.forEach((l) => l());
      return { again: false };
    },
    remove: (rootfs: string): void => void host.images.delete(rootfs),
    onArrival(listener: () => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
