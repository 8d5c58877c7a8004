/** Events of volumes, and what they make of one. Only an observation makes a volume ready. */
import { invariant } from "#contract/errors.ts";
import type { VolumeObserved } from "#contract/resources/volume.ts";
import { forgetSnapshots } from "./snapshots-of.ts";
import type { Reducers, State, StoredVolume, Touched } from "./state.ts";

export type VolumeEvents = {
  "v1.VolumeRequested": { name: string; sizeMib: number; labels: Record<string, string> };
  /** By the first machine that mounts it, or what is put into it. */
  "v1.VolumePlaced": { node: string };
  "v1.VolumeChanged": { sizeMib: number; labels: Record<string, string> };
  "v1.VolumeObserved": { observed: VolumeObserved };
  "v1.VolumeRestoreRequested": { snapshot: string; epoch: number };
  /** What it held was replaced by an archive. */
  "v1.VolumeImported": Record<string, never>;
  "v1.VolumeRemoveRequested": Record<string, never>;
  "v1.VolumeRemoved": Record<string, never>;
};

export const volumeReducers: Reducers<VolumeEvents> = {
  "v1.VolumeRequested": (state, e) => {
    invariant(!state.volumeNames.has(e.data.name), `two volumes named "${e.data.name}"`);
    state.volumeNames.set(e.data.name, e.subject);
    const nothing = { node: null, reason: null, restore: null, observed: null, made: false };
    state.volume.set(e.subject, { id: e.subject, ...e.data, ...nothing, state: "requested", revision: e.seq, createdAt: e.at });
    return [["volume", e.subject]];
  },
  "v1.VolumePlaced": (s, e) => change(s, e, { ...e.data, revision: e.seq }),
  "v1.VolumeChanged": (s, e) => change(s, e, { ...e.data, revision: e.seq }),
  "v1.VolumeObserved": (s, e) => change(s, e, e.data.observed.state === "ready" ? { ...e.data, made: true } : e.data),
  "v1.VolumeRestoreRequested": (s, e) => change(s, e, { restore: e.data, revision: e.seq }),
  "v1.VolumeImported": () => [],
  "v1.VolumeRemoveRequested": (s, e) => change(s, e, { state: "removing", revision: e.seq }),
  "v1.VolumeRemoved": (state, e) => {
    state.volumeNames.delete(state.volume.get(e.subject)?.name ?? "");
    state.volume.delete(e.subject);
    return [["volume", e.subject], ...forgetSnapshots(state, e.subject)];
  },
};

function change(state: State, e: { seq: number; subject: string }, fields: Partial<StoredVolume>): Touched {
  const before = state.volume.get(e.subject);
  invariant(before, `event ${e.seq} is about a volume that is not there: ${e.subject}`);
  const next = { ...before, ...fields };
  next.state = stateOf(next);
  next.reason = next.observed?.reason ?? null;
  state.volume.set(e.subject, next);
  return [["volume", e.subject]];
}

function stateOf({ state, node, observed }: StoredVolume): StoredVolume["state"] {
  if (state === "removing") return state;
  if (node === null) return "requested";
  if (observed === null || observed.state === "absent") return "creating";
  return observed.state === "ready" ? "ready" : "failed";
}
