/** Networks: who is in them, and under which names. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import type { Network } from "#contract/resources/network.ts";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { plural } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { ConfirmDialog, FormDialog } from "../kit/dialog.tsx";
import { Check, Field, SearchField } from "../kit/field.tsx";
import { Empty, PageHead, Panel, Problem, Waiting } from "../kit/page.tsx";

const SHOWN = 100;

export function NetworksPage() {
  const { data, error, isPending } = useQuery(queries.networks);
  const { viewer } = useMe();
  const navigate = useNavigate();
  const { q = "" } = useSearch({ strict: false });
  const [making, setMaking] = useState(false);
  const [removing, setRemoving] = useState<Network>();
  if (error) return <Problem error={error} className="m-6" />;
  if (isPending) return <Waiting />;
  const shown = data.filter((n) => n.name.includes(q.toLowerCase()));
  return (
    <>
      <PageHead title="Networks" note={data.length}>
        <SearchField
          value={q}
          onValue={(v) => void navigate({ to: "/networks", search: { q: v }, replace: true })}
          label="Filter"
          className="w-40 sm:w-56!"
        />
        <Button look="main" icon={Plus} whyNot={viewer} onClick={() => setMaking(true)}>
          Create
        </Button>
      </PageHead>
      <div className="flex flex-col gap-4 px-4 pb-8 sm:px-6">
        {shown.map((n) => (
          <Panel key={n.id}>
            <div className="flex min-h-10 items-center gap-3 pr-1.5 pl-3.5">
              <h2 className="font-semibold">{n.name}</h2>
              {n.internal && <span className="rounded border border-line px-1 text-xs text-soft">no way out</span>}
              <span className="text-soft">{plural(n.machines.length, "machine")}</span>
              <Button
                look="quiet"
                icon={Trash2}
                label={`Remove ${n.name}`}
                className="ml-auto text-soft"
                whyNot={viewer ?? (n.name === "default" ? "It is always there" : n.machines.length ? "Machines are in it" : null)}
                onClick={() => setRemoving(n)}
              />
            </div>
            {n.machines.length > 0 && <Members network={n} />}
          </Panel>
        ))}
        {!shown.length && (
          <Empty title={q ? "No network is called that." : "No networks yet."} command="vps network create back">
            Machines reach those that share a network with them, by name.
          </Empty>
        )}
      </div>
      {making && <Make onOpenChange={setMaking} />}
      {removing && (
        <ConfirmDialog
          open
          onOpenChange={() => setRemoving(undefined)}
          title={`Remove ${removing.name}?`}
          action="Remove"
          submit={() => client.removeNetwork({ params: { network: removing.id } })}
        >
          No machine is in it.
        </ConfirmDialog>
      )}
    </>
  );
}

function Members({ network }: { network: Network }) {
  return (
    <ul className="divide-y divide-line border-t border-line">
      {network.machines.slice(0, SHOWN).map((m) => (
        <li key={m.machine} className="flex h-8 items-center gap-4 px-3.5">
          <Link to="/machines/$name" params={{ name: m.machine }} className="w-40 truncate hover:underline">
            {m.machine}
          </Link>
          <span className="font-mono text-xs text-soft">{m.address4}</span>
          <span className="truncate font-mono text-xs text-soft max-md:hidden">{m.address6}</span>
          {m.aliases.length > 0 && <span className="ml-auto truncate text-soft">also {m.aliases.join(", ")}</span>}
        </li>
      ))}
      {network.machines.length > SHOWN && <li className="px-3.5 py-2 text-soft">and {network.machines.length - SHOWN} more</li>}
    </ul>
  );
}

function Make({ onOpenChange }: { onOpenChange: (open: boolean) => void }) {
  const [name, setName] = useState("");
  const [internal, setInternal] = useState(false);
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Create a network"
      action="Create"
      submit={() => client.createNetwork({ body: { name, internal } })}
    >
      <Field label="Name">
        <input required autoFocus value={name} onChange={(e) => setName(e.target.value)} placeholder="back" className="mono" />
      </Field>
      <Check label="Without a way out of it" checked={internal} onChange={(e) => setInternal(e.target.checked)} />
    </FormDialog>
  );
}
