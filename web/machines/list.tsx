/** All machines, live: found, ordered, marked, and acted on together. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useDeferredValue, useMemo, useState } from "react";
import { formatMib } from "#contract/size.ts";
import { doing } from "#contract/resources/words.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { queries, useMachines } from "../data/queries.ts";
import { plural } from "../kit/amounts.ts";
import { Button, buttonLook } from "../kit/button.tsx";
import { ConfirmDialog } from "../kit/dialog.tsx";
import { SearchField } from "../kit/field.tsx";
import { Empty, PageHead, Problem, Waiting } from "../kit/page.tsx";
import { RowLink } from "../kit/row-link.tsx";
import { MachineState } from "../kit/state.tsx";
import { Table, type Column } from "../kit/table.tsx";
import { Ago } from "../kit/time.tsx";
import { useAct, useWho } from "./act.ts";
import { RowActions } from "./action-menu.tsx";
import { ACTION_NAMES, ACTIONS, whyNot, type ActionName } from "./actions.ts";
import { FILTER_KEYS, machineFilter } from "./filter.ts";

export function MachinesPage() {
  const { machines, loading, error } = useMachines();
  const { data: nodes } = useQuery(queries.nodes);
  const { q = "", sort = "name" } = useSearch({ strict: false });
  const navigate = useNavigate();
  const [marked, setMarked] = useState<Record<string, true>>({});
  const names = useMemo(() => new Map((nodes ?? []).map((n) => [n.id, n.name])), [nodes]);
  const query = useDeferredValue(q);
  const rows = useMemo(() => machines.filter(machineFilter(query, names)), [machines, query, names]);
  const columns = useMemo(() => columnsFor(names), [names]);
  const chosen = useMemo(() => machines.filter((m) => marked[m.id]), [machines, marked]);
  const search = (more: { q?: string; sort?: string }): void =>
    void navigate({ to: "/machines", search: { q, sort, ...more }, replace: true });

  if (error) return <Problem error={error} className="m-6" />;
  return (
    <>
      <PageHead
        title="Machines"
        note={
          loading ? null : rows.length === machines.length ? machines.length.toLocaleString("en") : `${rows.length} of ${machines.length}`
        }
      >
        <SearchField
          value={q}
          onValue={(v) => search({ q: v })}
          label="Filter"
          title={`A name, or ${FILTER_KEYS.map((k) => `${k}:`).join(" ")}`}
          className="w-44 sm:w-72!"
        />
        <Link to="/machines/new" className={buttonLook("main")}>
          <Plus size={14} aria-hidden /> Create
        </Link>
      </PageHead>
      {chosen.length > 0 && <Bulk chosen={chosen} clear={() => setMarked({})} />}
      {loading ? (
        <Waiting lines={10} />
      ) : (
        <Table
          label="Machines"
          columns={columns}
          rows={rows}
          keyOf={(m) => m.id}
          sort={sort}
          onSort={(s) => search({ sort: s })}
          onOpen={(m) => void navigate({ to: "/machines/$name", params: { name: m.name } })}
          marked={marked}
          onMarked={setMarked}
          empty={
            machines.length ? (
              <Empty title="No machine is like that.">
                Words look in names; <code className="font-mono text-xs">state:failed label:team=core node:NAME image:nginx</code> look
                elsewhere.
              </Empty>
            ) : (
              <Empty title="No machines yet." command="vps up api-prod">
                A real one is running a second from now.
              </Empty>
            )
          }
        />
      )}
    </>
  );
}

function columnsFor(names: ReadonlyMap<string, string>): Column<Machine>[] {
  return [
    {
      id: "name",
      label: "Name",
      by: (m) => m.name,
      cell: (m) => (
        <span className="flex items-center gap-2 overflow-hidden">
          <RowLink to={`/machines/${m.name}`} className="shrink-0 font-medium hover:underline">
            {m.name}
          </RowLink>
          <Labels labels={m.labels} />
        </span>
      ),
    },
    { id: "state", label: "State", width: "8rem", by: doing, cell: (m) => <MachineState machine={m} /> },
    { id: "image", label: "Image", width: "17%", from: "md", by: (m) => m.spec.image, cell: (m) => m.spec.image },
    { id: "cpu", label: "CPU", width: "3.75rem", right: true, from: "sm", by: (m) => m.spec.cpu, cell: (m) => m.spec.cpu },
    {
      id: "ram",
      label: "RAM",
      width: "4.5rem",
      right: true,
      from: "sm",
      by: (m) => m.spec.memoryMib,
      cell: (m) => formatMib(m.spec.memoryMib),
    },
    {
      id: "address",
      label: "Address",
      width: "8rem",
      from: "lg",
      by: (m) => m.observed?.address4 ?? "",
      cell: (m) => <span className="font-mono text-xs">{m.observed?.address4 ?? ""}</span>,
    },
    {
      id: "node",
      label: "Node",
      width: "7rem",
      from: "lg",
      by: (m) => names.get(m.node ?? "") ?? "",
      cell: (m) => names.get(m.node ?? "") ?? "",
    },
    { id: "age", label: "Age", width: "4.5rem", right: true, from: "sm", by: (m) => -m.createdAt, cell: (m) => <Ago at={m.createdAt} /> },
    {
      id: "actions",
      label: "",
      width: "4rem",
      right: true,
      cell: (m) => (
        <span onClick={(e) => e.stopPropagation()}>
          <RowActions machine={m} />
        </span>
      ),
    },
  ];
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return Object.entries(labels).map(([key, value]) => (
    <RowLink
      key={key}
      to={`/machines?q=${encodeURIComponent(`label:${key}=${value}`)}`}
      className="truncate rounded border border-line px-1 text-xs text-soft hover:border-edge hover:text-ink max-md:hidden"
    >
      {value ? `${key}=${value}` : key}
    </RowLink>
  ));
}

function Bulk({ chosen, clear }: { chosen: readonly Machine[]; clear: () => void }) {
  const act = useAct();
  const who = useWho();
  const [destroying, setDestroying] = useState(false);
  const able = (name: ActionName): number => chosen.filter((m) => whyNot(name, m, who) === null).length;
  return (
    <div
      className="flex flex-wrap items-center gap-2 border-y border-line bg-chosen px-4 py-1.5 sm:px-6"
      role="toolbar"
      aria-label="What to do with the marked"
    >
      <span className="mr-2">{plural(chosen.length, "machine")}</span>
      {ACTION_NAMES.map((name) => (
        <Button
          key={name}
          look={name === "destroy" ? "danger" : "plain"}
          whyNot={able(name) ? null : `None of them: ${whyNot(name, chosen[0]!, who)}`}
          onClick={() => (name === "destroy" ? setDestroying(true) : void act(name, chosen))}
        >
          {ACTIONS[name].label}
        </Button>
      ))}
      <Button look="quiet" className="ml-auto" onClick={clear}>
        Clear
      </Button>
      <ConfirmDialog
        open={destroying}
        onOpenChange={setDestroying}
        title={`Destroy ${plural(chosen.length, "machine")}?`}
        name={`destroy ${chosen.length}`}
        action="Destroy"
        submit={async () => (await act("destroy", chosen), clear())}
      >
        Their disks and snapshots go with them, and cannot be had back:
        <p className="mt-2 max-h-32 overflow-y-auto font-mono text-xs">{chosen.map((m) => m.name).join(", ")}</p>
      </ConfirmDialog>
    </div>
  );
}
