/** Events of networks. The default one is in no event: it is always there. */
import { invariant } from "#contract/errors.ts";
import type { Reducers } from "./state.ts";

export type NetworkEvents = {
  "v1.NetworkCreated": { name: string; labels: Record<string, string>; internal: boolean; number: number };
  "v1.NetworkRemoved": Record<string, never>;
};

export const networkReducers: Reducers<NetworkEvents> = {
  "v1.NetworkCreated": (state, e) => {
    invariant(!state.networkNames.has(e.data.name), `two networks named "${e.data.name}"`);
    state.networkNames.set(e.data.name, e.subject);
    state.network.set(e.subject, { id: e.subject, ...e.data, createdAt: e.at });
    return [["network", e.subject]];
  },
  "v1.NetworkRemoved": (state, e) => {
    state.networkNames.delete(state.network.get(e.subject)?.name ?? "");
    state.network.delete(e.subject);
    return [["network", e.subject]];
  },
};
