/** Events of images. An image is a name for what the blob store holds; machines keep what they were made from. */
import { invariant } from "#contract/errors.ts";
import type { Image } from "#contract/resources/image.ts";
import type { Reducers } from "./state.ts";

type Stored = Pick<Image, "digest" | "target" | "rootfs" | "run" | "platform" | "bytes">;
export type ImageEvents = {
  /** To be made from a machine's disk. */
  "v1.ImageRequested": { name: string; from: string };
  /** Pulled, pushed, tagged or made; one of the same name now means this. */
  "v1.ImageStored": Stored & { name: string };
  "v1.ImageFailed": { reason: string };
  "v1.ImageRemoved": Record<string, never>;
};

export const imageReducers: Reducers<ImageEvents> = {
  "v1.ImageRequested": (state, e) => {
    const nothing = { digest: null, target: null, rootfs: null, run: null, platform: null, bytes: 0, reason: null };
    state.image.set(e.subject, { id: e.subject, ...e.data, ...nothing, state: "creating", createdAt: e.at });
    return [["image", e.subject]];
  },
  "v1.ImageStored": (state, e) => {
    const before = state.image.get(e.subject);
    const from = before?.state === "creating" ? before.from : null;
    state.image.set(e.subject, { id: e.subject, ...e.data, state: "ready", from, reason: null, createdAt: e.at });
    return [["image", e.subject]];
  },
  "v1.ImageFailed": (state, e) => {
    const image = state.image.get(e.subject);
    invariant(image, `failure of an image that is not there: ${e.subject}`);
    state.image.set(e.subject, { ...image, state: "failed", reason: e.data.reason });
    return [["image", e.subject]];
  },
  "v1.ImageRemoved": (state, e) => {
    state.image.delete(e.subject);
    return [["image", e.subject]];
  },
};
