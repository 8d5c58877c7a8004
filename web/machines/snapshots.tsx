/** Snapshots of a machine: taken, gone back to, removed. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Camera, History, Trash2 } from "lucide-react";
import { useState } from "react";
import { queries, useMe } from "../data/queries.ts";
import { client } from "../data/client.ts";
import { formatBytes } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { ConfirmDialog, FormDialog } from "../kit/dialog.tsx";
import { Check, Field } from "../kit/field.tsx";
import { Empty, Problem, Waiting } from "../kit/page.tsx";
import { State } from "../kit/state.tsx";
import { Table, type Column } from "../kit/table.tsx";
import { Ago } from "../kit/time.tsx";
import { say } from "../kit/toast.tsx";
import { putMachine, useWho } from "./act.ts";
import { refusal } from "./actions.ts";
import { useCurrent } from "./machine.tsx";

type Snapshot = Awaited<ReturnType<typeof client.createSnapshot>>;

export function SnapshotsTab() {
  const machine = useCurrent();
  const who = useWho();
  const { viewer } = useMe();
  const { data, error, isPending } = useQuery(queries.snapshots(machine.id));
  const [taking, setTaking] = useState(false);
  const [restoring, setRestoring] = useState<Snapshot>();
  const [removing, setRemoving] = useState<Snapshot>();
  if (isPending) return <Waiting />;
  if (error) return <Problem error={error} className="m-6" />;
  const cannotRestore = refusal("restore", machine, who);
  const columns: Column<Snapshot>[] = [
    { id: "name", label: "Name", cell: (s) => <span className="font-medium">{s.name}</span> },
    { id: "state", label: "State", width: "8rem", cell: (s) => <State word={s.state} /> },
    { id: "kind", label: "Holds", width: "10rem", from: "sm", cell: (s) => (s.memory ? "disk and memory" : "disk") },
    { id: "size", label: "Size", width: "6rem", right: true, from: "sm", cell: (s) => formatBytes(s.bytes) },
    { id: "age", label: "Age", width: "5rem", right: true, cell: (s) => <Ago at={s.createdAt} /> },
    {
      id: "actions",
      label: "",
      width: "11rem",
      right: true,
      cell: (s) => (
        <span className="flex justify-end gap-1">
          <Button icon={History} whyNot={s.state === "ready" ? cannotRestore : `It is ${s.state}`} onClick={() => setRestoring(s)}>
            Roll back
          </Button>
          <Button look="quiet" icon={Trash2} label={`Remove ${s.name}`} whyNot={viewer} onClick={() => setRemoving(s)} />
        </span>
      ),
    },
  ];
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="flex items-center justify-end px-4 py-2.5 sm:px-6">
        <Button look="main" icon={Camera} whyNot={refusal("snapshot", machine, who)} onClick={() => setTaking(true)}>
          Take a snapshot
        </Button>
      </div>
      <Table
        label="Snapshots"
        columns={columns}
        rows={[...data].sort((a, b) => b.createdAt - a.createdAt)}
        keyOf={(s) => s.id}
        rowHeight={40}
        empty={
          <Empty title="No snapshots yet." command={`vps snapshot ${machine.name} before-upgrade`}>
            A snapshot keeps the disk as it is now, while the machine goes on.
          </Empty>
        }
      />
      {taking && <Take onOpenChange={setTaking} />}
      {restoring && <RollBack snapshot={restoring} onOpenChange={() => setRestoring(undefined)} />}
      {removing && (
        <ConfirmDialog
          open
          onOpenChange={() => setRemoving(undefined)}
          title={`Remove ${removing.name}?`}
          action="Remove"
          submit={() => client.removeSnapshot({ params: { machine: machine.id, snapshot: removing.id } })}
        >
          The machine goes on as it is; there is no way back to this moment then.
        </ConfirmDialog>
      )}
    </div>
  );
}

function Take({ onOpenChange }: { onOpenChange: (open: boolean) => void }) {
  const machine = useCurrent();
  const cache = useQueryClient();
  const [name, setName] = useState("");
  const [memory, setMemory] = useState(false);
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Take a snapshot"
      action="Take it"
      submit={async () => {
        await client.createSnapshot({ params: { machine: machine.id }, body: { ...(name && { name }), memory } });
        await cache.invalidateQueries(queries.snapshots(machine.id));
      }}
    >
      <Field label="Name" hint="Left out, it is called by the time.">
        <input value={name} onChange={(e) => setName(e.target.value)} autoFocus placeholder="before-upgrade" className="mono" />
      </Field>
      <Check label="With its memory: all that runs goes on from there" checked={memory} onChange={(e) => setMemory(e.target.checked)} />
    </FormDialog>
  );
}

function RollBack({ snapshot, onOpenChange }: { snapshot: Snapshot; onOpenChange: (open: boolean) => void }) {
  const machine = useCurrent();
  const cache = useQueryClient();
  const who = useWho();
  const [keep, setKeep] = useState(true);
  const cannotKeep = refusal("snapshot", machine, who);
  const params = { machine: machine.id };
  return (
    <ConfirmDialog
      open
      onOpenChange={onOpenChange}
      title={`Roll ${machine.name} back to ${snapshot.name}?`}
      action="Roll back"
      submit={async () => {
        if (keep && cannotKeep === null) await kept(await client.createSnapshot({ params, body: {} }), machine.id);
        putMachine(cache, await client.restoreSnapshot({ params: { ...params, snapshot: snapshot.id } }));
        say(`${machine.name} goes back to ${snapshot.name}`);
      }}
    >
      <p className="mb-3">
        Its disk becomes what it was <Ago at={snapshot.createdAt} suffix />, and it starts again from there. What was written since is lost.
      </p>
      <Check
        label="Keep a snapshot of it as it is now first"
        checked={keep && cannotKeep === null}
        disabled={cannotKeep !== null}
        onChange={(e) => setKeep(e.target.checked)}
      />
    </ConfirmDialog>
  );
}

const LOOK_MS = 200;
const LONGEST_MS = 120_000;

/** Until it is there: going back before would take it along. */
async function kept({ id }: Snapshot, machine: string): Promise<void> {
  for (const deadline = Date.now() + LONGEST_MS; ; await new Promise((go) => setTimeout(go, LOOK_MS))) {
    const { items } = await client.listSnapshots({ params: { machine } });
    const found = items.find((s) => s.id === id);
    if (found?.state === "ready") return;
    if (!found || found.state === "failed" || Date.now() > deadline)
      throw new Error(`It could not be kept as it is now: ${found?.reason ?? "it took too long"}. Nothing was rolled back.`);
  }
}
