/** One machine: who it is and how it is, above the views of it. */
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { createContext, useContext } from "react";
import type { HyperlaneError } from "#contract/errors.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { queries } from "../data/queries.ts";
import { Empty, PageHead, Problem, Waiting } from "../kit/page.tsx";
import { MachineState } from "../kit/state.tsx";
import { ActionButtons, ActionMenu } from "./action-menu.tsx";

const TABS = [
  ["", "Summary"],
  ["/terminal", "Terminal"],
  ["/logs", "Logs"],
  ["/files", "Files"],
  ["/snapshots", "Snapshots"],
  ["/network", "Network"],
  ["/events", "Events"],
  ["/spec", "Spec"],
] as const;

const Current = createContext<Machine | undefined>(undefined);

/** The machine of this page. */
export function useCurrent(): Machine {
  return useContext(Current)!;
}

export function MachinePage() {
  const { name = "" } = useParams({ strict: false });
  const { ask } = useSearch({ strict: false });
  const navigate = useNavigate();
  const { data: machine, error, isPending } = useQuery(queries.machine(name));
  if (isPending) return <Waiting />;
  if (machine === null) return <Gone name={name} />;
  if (!machine) return (error as HyperlaneError).code === "NOT_FOUND" ? <Gone name={name} /> : <Problem error={error} className="m-6" />;
  return (
    <Current value={machine}>
      <PageHead
        above={{ to: "/machines", label: "Machines" }}
        title={machine.name}
        note={
          <span className="flex flex-wrap items-center gap-x-3 text-ink">
            <MachineState machine={machine} />
            {machine.needsRestart && <span className="text-warn">restart to apply changes</span>}
          </span>
        }
      >
        <ActionButtons machine={machine} />
        <ActionMenu key={ask} machine={machine} ask={ask} onAsked={() => ask && void navigate({ to: ".", search: {}, replace: true })} />
      </PageHead>
      {machine.reason !== null && (
        <p className="mx-4 mb-3 rounded-md border border-line border-l-2 border-l-warn bg-panel px-3 py-1.5 sm:mx-6" role="status">
          {machine.reason}
        </p>
      )}
      <nav aria-label={`Views of ${machine.name}`} className="flex shrink-0 gap-1 overflow-x-auto border-b border-line px-3 sm:px-5">
        {TABS.map(([path, label]) => (
          <Link
            key={path}
            to={`/machines/$name${path}`}
            params={{ name: machine.name }}
            activeOptions={{ exact: true, includeSearch: false }}
            className="-mb-px border-b-2 border-transparent px-1.5 py-1.5 text-soft hover:text-ink data-[status=active]:border-accent data-[status=active]:text-ink"
          >
            {label}
          </Link>
        ))}
      </nav>
      <div className="flex min-h-0 flex-1 flex-col">
        <Outlet />
      </div>
    </Current>
  );
}

function Gone({ name }: { name: string }) {
  return (
    <Empty title={`There is no machine "${name}" now.`}>
      <Link to="/machines" className="text-accent underline">
        All machines
      </Link>
      {" · "}
      <Link to="/events" search={{ q: name }} className="text-accent underline">
        what happened to it
      </Link>
    </Empty>
  );
}
