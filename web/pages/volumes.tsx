/** Volumes: made, grown, kept, removed. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Camera, Ellipsis, Expand, History, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import type { Volume } from "#contract/resources/volume.ts";
import { formatMib, parseMib } from "#contract/size.ts";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { formatBytes } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { ConfirmDialog, Dialog, FormDialog } from "../kit/dialog.tsx";
import { Field, SearchField } from "../kit/field.tsx";
import { Menu } from "../kit/menu.tsx";
import { Empty, PageHead, Problem, Waiting } from "../kit/page.tsx";
import { State } from "../kit/state.tsx";
import { Table, type Column } from "../kit/table.tsx";
import { Ago } from "../kit/time.tsx";
import { complain, say } from "../kit/toast.tsx";

type Asking = { what: "grow" | "remove" | "snapshots"; volume: Volume };

export function VolumesPage() {
  const { data, error, isPending } = useQuery(queries.volumes);
  const { viewer } = useMe();
  const navigate = useNavigate();
  const { q = "", sort = "name" } = useSearch({ strict: false });
  const [making, setMaking] = useState(false);
  const [asking, setAsking] = useState<Asking>();
  const search = (more: object): void => void navigate({ to: "/volumes", search: { q, sort, ...more }, replace: true });
  if (error) return <Problem error={error} className="m-6" />;
  const columns: Column<Volume>[] = [
    { id: "name", label: "Name", by: (v) => v.name, cell: (v) => <span className="font-medium">{v.name}</span> },
    { id: "state", label: "State", width: "8rem", by: (v) => v.state, cell: (v) => <State word={v.state} /> },
    {
      id: "used",
      label: "Mounted in",
      width: "30%",
      from: "sm",
      by: (v) => v.usedBy[0]?.machine ?? "",
      cell: (v) => <UsedBy volume={v} />,
    },
    { id: "size", label: "Size", width: "5rem", right: true, by: (v) => v.sizeMib, cell: (v) => formatMib(v.sizeMib) },
    {
      id: "taken",
      label: "Takes",
      width: "5rem",
      right: true,
      from: "md",
      by: (v) => v.observed?.bytes ?? 0,
      cell: (v) => formatBytes(v.observed?.bytes ?? 0),
    },
    { id: "age", label: "Age", width: "5rem", right: true, from: "sm", by: (v) => -v.createdAt, cell: (v) => <Ago at={v.createdAt} /> },
    {
      id: "actions",
      label: "",
      width: "4rem",
      right: true,
      cell: (v) => (
        <Menu
          trigger={<Button look="quiet" icon={Ellipsis} label={`Actions for ${v.name}`} className="text-soft" />}
          items={[
            { label: "Make it larger…", icon: Expand, whyNot: viewer, run: () => setAsking({ what: "grow", volume: v }) },
            { label: "Snapshots…", icon: History, run: () => setAsking({ what: "snapshots", volume: v }) },
            "line",
            {
              label: "Remove…",
              icon: Trash2,
              danger: true,
              whyNot: viewer ?? (v.usedBy.length ? `${v.usedBy[0]!.machine} has it mounted` : null),
              run: () => setAsking({ what: "remove", volume: v }),
            },
          ]}
        />
      ),
    },
  ];
  const close = (): void => setAsking(undefined);
  return (
    <>
      <PageHead title="Volumes" note={data?.length}>
        <SearchField value={q} onValue={(v) => search({ q: v })} label="Filter" className="w-40 sm:w-56!" />
        <Button look="main" icon={Plus} whyNot={viewer} onClick={() => setMaking(true)}>
          Create
        </Button>
      </PageHead>
      {isPending ? (
        <Waiting />
      ) : (
        <Table
          label="Volumes"
          columns={columns}
          rows={data.filter((v) => v.name.includes(q.toLowerCase()))}
          keyOf={(v) => v.id}
          sort={sort}
          onSort={(s) => search({ sort: s })}
          empty={
            <Empty title={q ? "No volume is called that." : "No volumes yet."} command="vps volume create pgdata --size 20G">
              A volume outlives the machines that it is mounted in.
            </Empty>
          }
        />
      )}
      {making && <Make onOpenChange={setMaking} />}
      {asking?.what === "grow" && <Grow volume={asking.volume} onOpenChange={close} />}
      {asking?.what === "snapshots" && <Snapshots volume={asking.volume} onOpenChange={close} whyNot={viewer} />}
      {asking?.what === "remove" && (
        <ConfirmDialog
          open
          onOpenChange={close}
          title={`Remove ${asking.volume.name}?`}
          name={asking.volume.name}
          action="Remove"
          submit={() => client.removeVolume({ params: { volume: asking.volume.id } })}
        >
          What is on it and its snapshots go with it, and cannot be had back.
        </ConfirmDialog>
      )}
    </>
  );
}

function UsedBy({ volume }: { volume: Volume }) {
  if (!volume.usedBy.length) return <span className="text-soft">nothing</span>;
  return (
    <span className="flex gap-3 overflow-hidden">
      {volume.usedBy.map((u) => (
        <Link key={u.machine} to="/machines/$name" params={{ name: u.machine }} className="truncate hover:underline">
          {u.machine} <span className="font-mono text-xs text-soft">{u.path}</span>
        </Link>
      ))}
    </span>
  );
}

type Asked = { onOpenChange: (open: boolean) => void };

function Make({ onOpenChange }: Asked) {
  const [name, setName] = useState("");
  const [size, setSize] = useState("10G");
  const sizeMib = parseMib(size);
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Create a volume"
      action="Create"
      whyNot={sizeMib === undefined ? "The size must be like 10G" : null}
      submit={() => client.createVolume({ body: { name, sizeMib: sizeMib! } })}
    >
      <Field label="Name">
        <input required autoFocus value={name} onChange={(e) => setName(e.target.value)} placeholder="pgdata" className="mono" />
      </Field>
      <Field label="Size" hint="It takes what is written to it, and can be made larger later." bad={sizeMib === undefined}>
        <input required value={size} onChange={(e) => setSize(e.target.value)} />
      </Field>
    </FormDialog>
  );
}

function Grow({ volume, onOpenChange }: Asked & { volume: Volume }) {
  const [size, setSize] = useState(formatMib(volume.sizeMib));
  const sizeMib = parseMib(size);
  const why = sizeMib === undefined ? "The size must be like 20G" : sizeMib <= volume.sizeMib ? "A volume only grows" : null;
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Make ${volume.name} larger`}
      action="Make it larger"
      whyNot={why}
      submit={() => client.updateVolume({ params: { volume: volume.id }, body: { sizeMib: sizeMib! } })}
    >
      <Field label="Size" hint={`It has ${formatMib(volume.sizeMib)}. Machines that have it mounted see it grow while they run.`}>
        <input required autoFocus value={size} onChange={(e) => setSize(e.target.value)} />
      </Field>
    </FormDialog>
  );
}

function Snapshots({ volume, onOpenChange, whyNot }: Asked & { volume: Volume; whyNot: string | null }) {
  const { data = [] } = useQuery(queries.volumeSnapshots(volume.id));
  const cache = useQueryClient();
  const params = { volume: volume.id };
  const run = (what: Promise<unknown>, done: string): void =>
    void what.then(() => (say(done), cache.invalidateQueries({ queryKey: ["snapshots"] })), complain);
  return (
    <Dialog open onOpenChange={onOpenChange} title={`Snapshots of ${volume.name}`} wide>
      <div className="flex flex-col gap-3 p-4">
        <ul className="flex max-h-80 flex-col divide-y divide-line overflow-y-auto">
          {data.map((s) => (
            <li key={s.id} className="flex min-h-10 items-center gap-3">
              <span className="min-w-0 flex-1 truncate font-medium">{s.name}</span>
              <State word={s.state} />
              <span className="text-soft">
                <Ago at={s.createdAt} suffix />
              </span>
              <Button
                icon={History}
                whyNot={whyNot ?? (s.state === "ready" ? null : `It is ${s.state}`)}
                onClick={() =>
                  run(client.restoreVolumeSnapshot({ params: { ...params, snapshot: s.id } }), `${volume.name} goes back to ${s.name}`)
                }
              >
                Roll back
              </Button>
              <Button
                look="quiet"
                icon={Trash2}
                label={`Remove ${s.name}`}
                whyNot={whyNot}
                onClick={() => run(client.removeVolumeSnapshot({ params: { ...params, snapshot: s.id } }), `${s.name} is removed`)}
              />
            </li>
          ))}
          {!data.length && <li className="py-4 text-soft">None yet.</li>}
        </ul>
        <Button
          look="main"
          icon={Camera}
          whyNot={whyNot}
          className="self-end"
          onClick={() => run(client.createVolumeSnapshot({ params, body: {} }), "A snapshot is taken")}
        >
          Take a snapshot
        </Button>
      </div>
    </Dialog>
  );
}
