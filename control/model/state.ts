/**
 * State is a fold over events: `reduce` is the only thing that changes it. Every reducer replaces the
 * objects it touches and names them, so the store knows which projection rows to write.
 */
import type { z } from "zod";
import type { Image } from "#contract/resources/image.ts";
import type { Event, Node, Session, Snapshot, Token } from "#contract/resources/other.ts";
import type { Machine, Migration } from "#contract/resources/machine.ts";
import type { Network } from "#contract/resources/network.ts";
import type { Volume } from "#contract/resources/volume.ts";
import { invariant } from "#contract/errors.ts";
import { imageReducers, type ImageEvents } from "./image.ts";
import { machineReducers, type MachineEvents } from "./machine.ts";
import { networkReducers, type NetworkEvents } from "./network.ts";
import { slim } from "./slim.ts";
import { linkSnapshot } from "./snapshots-of.ts";
import { nodeReducers, tokenReducers, type NodeEvents, type TokenEvents } from "./node.ts";
import { snapshotReducers, type SnapshotEvents } from "./snapshot.ts";
import { volumeReducers, type VolumeEvents } from "./volume.ts";

export type StoredMachine = Omit<Machine, "migration"> & { slot: number; migration: z.infer<typeof Migration> | null };
/** made: its disk has been there. */
export type StoredVolume = Omit<Volume, "usedBy"> & { made: boolean };
export type StoredNetwork = Omit<Network, "machines">;
/** expiresAt: of one that is not for ever. */
export type StoredToken = Token & { hash: string; expiresAt?: number };
export type StoredSession = Session & { hash: string };

/** One map per kind of resource, by id. A destroyed machine leaves its map; the log remembers it. */
export type State = {
  machine: Map<string, StoredMachine>;
  node: Map<string, Node>;
  snapshot: Map<string, Snapshot>;
  image: Map<string, Image>;
  token: Map<string, StoredToken>;
  session: Map<string, StoredSession>;
  volume: Map<string, StoredVolume>;
  network: Map<string, StoredNetwork>;
  /** Names of machines, to ids. Derived. */
  names: Map<string, string>;
  /** Names of volumes and of networks, to ids. Derived. */
  volumeNames: Map<string, string>;
  networkNames: Map<string, string>;
  /** Values that many machines have alike, kept once; by their JSON. */
  alike: Map<string, object>;
  /** Snapshots of a machine or a volume, by its id. Derived. */
  snapshotsOf: Map<string, Set<string>>;
};
export type Kind = "machine" | "node" | "snapshot" | "image" | "token" | "session" | "volume" | "network";
export const KINDS: readonly Kind[] = ["machine", "node", "snapshot", "image", "token", "session", "volume", "network"];
export type Touched = readonly [kind: Kind, id: string][];

export type EventData = MachineEvents & NodeEvents & TokenEvents & SnapshotEvents & ImageEvents & VolumeEvents & NetworkEvents;
export type EventType = keyof EventData;
export type NewEvent = { [T in EventType]: { type: T; subject: string; actor: string; data: EventData[T] } }[EventType];
export type StoredEvent = NewEvent & Pick<Event, "seq" | "at">;

export type Reducers<E> = {
  [T in keyof E]: (state: State, event: { seq: number; at: number; subject: string; actor: string; data: E[T] }) => Touched;
};

const REDUCERS: Reducers<EventData> = {
  ...machineReducers,
  ...nodeReducers,
  ...tokenReducers,
  ...snapshotReducers,
  ...imageReducers,
  ...volumeReducers,
  ...networkReducers,
};

export function emptyState(): State {
  return {
    machine: new Map(),
    node: new Map(),
    snapshot: new Map(),
    image: new Map(),
    token: new Map(),
    session: new Map(),
    volume: new Map(),
    network: new Map(),
    volumeNames: new Map(),
    networkNames: new Map(),
    alike: new Map(),
    names: new Map(),
    snapshotsOf: new Map(),
  };
}

export function reduce(state: State, event: StoredEvent): Touched {
  const reducer = REDUCERS[event.type] as Reducers<EventData>[EventType] | undefined;
  invariant(reducer, `no reducer for the event "${event.type}" at ${event.seq}`);
  return (reducer as (s: State, e: StoredEvent) => Touched)(state, event);
}

/** Puts a projection row read from the database in its place. */
export function load(state: State, kind: Kind, id: string, doc: unknown): void {
  (state[kind] as Map<string, unknown>).set(id, kind === "machine" ? slim(state, doc as StoredMachine) : doc);
  if (kind === "machine") state.names.set((doc as Machine).name, id);
  if (kind === "volume") state.volumeNames.set((doc as Volume).name, id);
  if (kind === "network") state.networkNames.set((doc as Network).name, id);
  if (kind === "snapshot") linkSnapshot(state, doc as Snapshot);
}

export function imageNamed(state: State, name: string): Image | undefined {
  return [...state.image.values()].find((i) => i.name === name);
}

/** By name first, since a name is what people type; an id is never a valid name's equal ("m-..." is, so names win). */
export function findMachine(state: State, nameOrId: string): StoredMachine | undefined {
  return state.machine.get(state.names.get(nameOrId) ?? nameOrId);
}
