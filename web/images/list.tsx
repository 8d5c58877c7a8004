/** Images: what there is, what uses it, more from a registry or from a machine. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Download, Layers } from "lucide-react";
import { useMemo, useState } from "react";
import type { Image } from "#contract/resources/image.ts";
import { client } from "../data/client.ts";
import { queries, useMachines, useMe } from "../data/queries.ts";
import { formatBytes, shortDigest } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { ConfirmDialog } from "../kit/dialog.tsx";
import { SearchField } from "../kit/field.tsx";
import { Empty, PageHead, Problem, Waiting } from "../kit/page.tsx";
import { State } from "../kit/state.tsx";
import { Table, type Column } from "../kit/table.tsx";
import { Ago } from "../kit/time.tsx";
import { say } from "../kit/toast.tsx";
import { Build } from "./build.tsx";
import { Pull } from "./pull.tsx";

export function ImagesPage() {
  const { data, error, isPending } = useQuery(queries.images);
  const { machines } = useMachines();
  const { viewer } = useMe();
  const navigate = useNavigate();
  const { q = "", sort = "name", ask } = useSearch({ strict: false });
  const [building, setBuilding] = useState(false);
  const [pruning, setPruning] = useState(false);
  const search = (more: object): void => void navigate({ to: "/images", search: { q, sort, ...more }, replace: true });
  const used = useMemo(() => countBy(machines.flatMap((m) => m.image?.digest ?? [])), [machines]);
  if (error) return <Problem error={error} className="m-6" />;
  const columns: Column<Image>[] = [
    {
      id: "name",
      label: "Name",
      by: (i) => i.name,
      cell: (i) => (
        <Link to="/images/$image" params={{ image: i.name }} onClick={(e) => e.stopPropagation()} className="font-medium hover:underline">
          {i.name}
        </Link>
      ),
    },
    { id: "state", label: "State", width: "8rem", from: "sm", by: (i) => i.state, cell: (i) => <State word={i.state} /> },
    {
      id: "used",
      label: "Machines",
      width: "6rem",
      right: true,
      by: (i) => used.get(i.digest ?? "") ?? 0,
      cell: (i) => used.get(i.digest ?? "") ?? 0,
    },
    { id: "size", label: "Size", width: "6rem", right: true, by: (i) => i.bytes, cell: (i) => formatBytes(i.bytes) },
    {
      id: "digest",
      label: "Digest",
      width: "9rem",
      from: "md",
      cell: (i) => <span className="font-mono text-xs">{i.digest ? shortDigest(i.digest) : ""}</span>,
    },
    { id: "age", label: "Age", width: "5rem", right: true, from: "sm", by: (i) => -i.createdAt, cell: (i) => <Ago at={i.createdAt} /> },
  ];
  return (
    <>
      <PageHead title="Images" note={data?.length}>
        <SearchField value={q} onValue={(v) => search({ q: v })} label="Filter" className="w-40 sm:w-56!" />
        <Button whyNot={viewer} onClick={() => setPruning(true)}>
          Remove unused
        </Button>
        <Button icon={Layers} whyNot={viewer} onClick={() => setBuilding(true)}>
          From a machine
        </Button>
        <Button look="main" icon={Download} whyNot={viewer} onClick={() => search({ ask: "pull" })}>
          Pull
        </Button>
      </PageHead>
      {isPending ? (
        <Waiting />
      ) : (
        <Table
          label="Images"
          columns={columns}
          rows={data.filter((i) => i.name.includes(q.toLowerCase()))}
          keyOf={(i) => i.id}
          sort={sort}
          onSort={(s) => search({ sort: s })}
          onOpen={(i) => void navigate({ to: "/images/$image", params: { image: i.name } })}
          empty={<Empty title={q ? "No image is called that." : "No images yet."} command="vps image pull nginx" />}
        />
      )}
      {ask === "pull" && <Pull onOpenChange={() => search({ ask: undefined })} />}
      {building && <Build onOpenChange={setBuilding} />}
      {pruning && (
        <ConfirmDialog
          open
          onOpenChange={setPruning}
          title="Remove every image that no machine uses?"
          action="Remove"
          submit={async () => {
            const { removed, freedBytes } = await client.pruneImages();
            say(`${removed.length} removed, ${formatBytes(freedBytes)} freed`);
          }}
        >
          What came from a registry can be pulled again. What was made from a machine cannot.
        </ConfirmDialog>
      )}
    </>
  );
}

function countBy(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}
