/** What can be read, each under one key. The stream keeps it current: nothing here is asked for at intervals. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import type { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { applyMachines, type Machines } from "./apply.ts";
import { VIEWER } from "../machines/actions.ts";
import { client } from "./client.ts";
import { readWhile } from "./live.ts";

const PAGE = 1000;

async function readMachines(): Promise<Machines> {
  const all = new Map<string, Machine>();
  for (let after: string | undefined; ;) {
    const { items, next } = await client.listMachines({ query: { limit: PAGE, after } });
    for (const machine of items) all.set(machine.id, machine);
    if (next === null) return all;
    after = next;
  }
}

const items = <T>({ items }: { items: T[] }): T[] => items;

export const queries = {
  me: queryOptions({ queryKey: ["me"], queryFn: () => client.whoami() }),
  machines: queryOptions({
    queryKey: ["machines"],
    queryFn: () => readWhile(readMachines, applyMachines),
    // Thousands are compared by the stream's own word, not field by field.
    structuralSharing: false,
  }),
  /** null: it is destroyed. */
  machine: (name: string) =>
    queryOptions({
      queryKey: ["machine", name],
      queryFn: (): Promise<Machine | null> =>
        readWhile<Machine | null>(
          () => client.getMachine({ params: { machine: name } }),
          (read, { machines, gone }) => (read && gone.includes(read.id) ? null : (machines.find((m) => m.id === read?.id) ?? read)),
        ),
    }),
  snapshots: (machine: string) =>
    queryOptions({ queryKey: ["snapshots", machine], queryFn: () => client.listSnapshots({ params: { machine } }).then(items) }),
  volumeSnapshots: (volume: string) =>
    queryOptions({
      queryKey: ["snapshots", "volume", volume],
      queryFn: () => client.listVolumeSnapshots({ params: { volume } }).then(items),
    }),
  images: queryOptions({ queryKey: ["images"], queryFn: () => client.listImages().then(items) }),
  image: (name: string) => queryOptions({ queryKey: ["images", name], queryFn: () => client.getImage({ params: { image: name } }) }),
  volumes: queryOptions({ queryKey: ["volumes"], queryFn: () => client.listVolumes().then(items) }),
  networks: queryOptions({ queryKey: ["networks"], queryFn: () => client.listNetworks().then(items) }),
  nodes: queryOptions({ queryKey: ["nodes"], queryFn: () => client.listNodes().then(items) }),
  devices: queryOptions({ queryKey: ["devices"], queryFn: () => client.listDevices().then(items) }),
  runtimes: queryOptions({ queryKey: ["runtimes"], queryFn: () => client.listRuntimes().then(items) }),
  templates: queryOptions({ queryKey: ["templates"], queryFn: () => client.listTemplates().then(items) }),
  tokens: queryOptions({ queryKey: ["tokens"], queryFn: () => client.listTokens().then(items) }),
  sessions: queryOptions({ queryKey: ["sessions"], queryFn: () => client.listSessions().then(items) }),
  certificates: queryOptions({ queryKey: ["certificates"], queryFn: () => client.listCertificates().then(items) }),
  /** subject: a name or an id; undefined: all. */
  events: (subject?: string) =>
    queryOptions({
      queryKey: ["events", subject ?? ""],
      queryFn: () => client.listEvents({ query: { last: subject === undefined ? 1000 : 300, subject } }).then(items),
    }),
};

const NONE: readonly Machine[] = [];

/** All machines, by name. */
export function useMachines(): { machines: readonly Machine[]; loading: boolean; error: HyperlaneError | null } {
  const { data, isPending, error } = useQuery({ ...queries.machines, select: byName });
  return { machines: data ?? NONE, loading: isPending, error: error as HyperlaneError | null };
}

function byName(all: Machines): readonly Machine[] {
  return [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** viewer: why whoever is signed in changes nothing; null: they may. */
export function useMe() {
  const { data } = useQuery(queries.me);
  const admin = data?.role === "admin";
  return { me: data, admin, viewer: admin ? null : VIEWER };
}
