/** Every view and its address. What a view shows beside its name (a filter, an order, a question) is in the address too. */
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { NotFound, Root } from "./shell/root.tsx";

/** Text of an address, where it is some. */
function texts<K extends string>(...keys: K[]) {
  return (search: Record<string, unknown>): Partial<Record<K, string>> =>
    Object.fromEntries(keys.flatMap((k) => (search[k] === undefined || search[k] === "" ? [] : [[k, String(search[k])]]))) as Partial<
      Record<K, string>
    >;
}

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({ component: Root, notFoundComponent: NotFound });
const at = <P extends string>(path: P, component: ReturnType<typeof lazyRouteComponent>) =>
  createRoute({ getParentRoute: () => root, path, component, validateSearch: texts("q", "sort", "ask") });

const machine = createRoute({
  getParentRoute: () => root,
  path: "/machines/$name",
  component: lazyRouteComponent(() => import("./machines/machine.tsx"), "MachinePage"),
  validateSearch: texts("ask"),
});
const inMachine = <P extends string>(path: P, component: ReturnType<typeof lazyRouteComponent>) =>
  createRoute({ getParentRoute: () => machine, path, component, validateSearch: texts("q", "view") });

export const routeTree = root.addChildren([
  at(
    "/",
    lazyRouteComponent(() => import("./pages/overview.tsx"), "OverviewPage"),
  ),
  at(
    "/sign-in",
    lazyRouteComponent(() => import("./pages/overview.tsx"), "OverviewPage"),
  ),
  at(
    "/machines",
    lazyRouteComponent(() => import("./machines/list.tsx"), "MachinesPage"),
  ),
  at(
    "/machines/new",
    lazyRouteComponent(() => import("./machines/create.tsx"), "CreatePage"),
  ),
  machine.addChildren([
    inMachine(
      "/",
      lazyRouteComponent(() => import("./machines/summary.tsx"), "SummaryTab"),
    ),
    inMachine(
      "/terminal",
      lazyRouteComponent(() => import("./machines/terminal.tsx"), "TerminalTab"),
    ),
    inMachine(
      "/logs",
      lazyRouteComponent(() => import("./machines/logs.tsx"), "LogsTab"),
    ),
    inMachine(
      "/files",
      lazyRouteComponent(() => import("./machines/files.tsx"), "FilesTab"),
    ),
    inMachine(
      "/snapshots",
      lazyRouteComponent(() => import("./machines/snapshots.tsx"), "SnapshotsTab"),
    ),
    inMachine(
      "/network",
      lazyRouteComponent(() => import("./machines/network.tsx"), "NetworkTab"),
    ),
    inMachine(
      "/events",
      lazyRouteComponent(() => import("./machines/events.tsx"), "EventsTab"),
    ),
    inMachine(
      "/spec",
      lazyRouteComponent(() => import("./machines/spec.tsx"), "SpecTab"),
    ),
  ]),
  at(
    "/images",
    lazyRouteComponent(() => import("./images/list.tsx"), "ImagesPage"),
  ),
  at(
    "/images/$image",
    lazyRouteComponent(() => import("./images/image.tsx"), "ImagePage"),
  ),
  at(
    "/volumes",
    lazyRouteComponent(() => import("./pages/volumes.tsx"), "VolumesPage"),
  ),
  at(
    "/networks",
    lazyRouteComponent(() => import("./pages/networks.tsx"), "NetworksPage"),
  ),
  at(
    "/nodes",
    lazyRouteComponent(() => import("./pages/nodes.tsx"), "NodesPage"),
  ),
  at(
    "/events",
    lazyRouteComponent(() => import("./pages/events.tsx"), "EventsPage"),
  ),
  at(
    "/settings",
    lazyRouteComponent(() => import("./pages/settings.tsx"), "SettingsPage"),
  ),
]);
