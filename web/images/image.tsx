/** One image: how it is run, what it is made of, its other names, and the machines made from it. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Tag, Trash2 } from "lucide-react";
import { useState } from "react";
import type { ImageDetail as Detail } from "#contract/resources/image.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { queries, useMachines, useMe } from "../data/queries.ts";
import { formatBytes, plural, shortDigest } from "../kit/amounts.ts";
import { Button, buttonLook } from "../kit/button.tsx";
import { Code } from "../kit/copy.tsx";
import { ConfirmDialog, FormDialog } from "../kit/dialog.tsx";
import { Field } from "../kit/field.tsx";
import { Empty, Facts, PageHead, Panel, Problem, Section, Waiting } from "../kit/page.tsx";
import { MachineState, State } from "../kit/state.tsx";
import { Ago } from "../kit/time.tsx";

export function ImagePage() {
  const { image: name = "" } = useParams({ strict: false });
  const { data: image, error, isPending } = useQuery(queries.image(name));
  const { data: images = [] } = useQuery(queries.images);
  const { machines } = useMachines();
  const { viewer } = useMe();
  const navigate = useNavigate();
  const [asking, setAsking] = useState<"tag" | "remove">();
  if (isPending) return <Waiting />;
  if (error) return <Problem error={error} className="m-6" />;
  const { run } = image;
  const users = machines.filter((m) => m.image?.digest === image.digest);
  const names = images.filter((i) => i.digest !== null && i.digest === image.digest && i.name !== image.name);
  const inUse = users.length > 0 && names.length === 0 ? `${plural(users.length, "machine")} use it` : null;
  return (
    <>
      <PageHead above={{ to: "/images", label: "Images" }} title={image.name} note={<State word={image.state} />}>
        <Button icon={Tag} whyNot={viewer} onClick={() => setAsking("tag")}>
          Tag
        </Button>
        <Button look="danger" icon={Trash2} label="Remove" whyNot={viewer ?? inUse} onClick={() => setAsking("remove")} />
        <Link to="/machines/new" className={buttonLook("main")}>
          Create a machine
        </Link>
      </PageHead>
      <div className="grid gap-6 px-4 pb-8 sm:px-6 lg:grid-cols-2">
        <Section title="Image">
          <Panel className="p-3.5">
            <Facts
              rows={[
                ["Digest", image.digest ? <Code key="d" text={image.digest} shown={`sha256:${shortDigest(image.digest)}…`} /> : "–"],
                ["Size", formatBytes(image.bytes)],
                ["Platform", image.platform ?? "–"],
                image.from !== null && ["Made from", image.from],
                image.reason !== null && ["Why", image.reason],
                ["Here since", <Ago key="a" at={image.createdAt} suffix />],
                ["Other names", names.length ? names.map((i) => i.name).join(", ") : "none"],
              ]}
            />
          </Panel>
        </Section>
        <Section title="How it runs">
          <Panel className="p-3.5">
            {run ? (
              <Facts
                rows={[
                  ["Command", <Words key="c" words={[...run.entrypoint, ...run.cmd]} />],
                  run.user !== "" && ["User", run.user],
                  run.workdir !== "" && ["Directory", <Words key="w" words={[run.workdir]} />],
                  run.ports.length > 0 && ["Ports", run.ports.join(", ")],
                  run.volumes.length > 0 && ["Volumes", run.volumes.join(", ")],
                  run.health !== null && ["Health", <Words key="h" words={run.health.argv} />],
                  run.env.length > 0 && [
                    "Environment",
                    <ul key="e" className="font-mono text-xs">
                      {run.env.map((line) => (
                        <li key={line} className="break-all">
                          {line}
                        </li>
                      ))}
                    </ul>,
                  ],
                ]}
              />
            ) : (
              <p className="text-soft">It is no image of a file system.</p>
            )}
          </Panel>
        </Section>
        <Layers layers={image.layers} />
        <Users name={image.name} machines={users} />
        <div className="lg:col-span-2">
          <Past steps={image.history} />
        </div>
      </div>
      {asking === "tag" && <TagDialog name={image.name} onOpenChange={() => setAsking(undefined)} />}
      {asking === "remove" && (
        <ConfirmDialog
          open
          onOpenChange={() => setAsking(undefined)}
          title={`Remove ${image.name}?`}
          action="Remove"
          submit={async () => {
            await client.removeImage({ params: { image: image.name } });
            await navigate({ to: "/images" });
          }}
        >
          Its layers go too, where no other image has them.
        </ConfirmDialog>
      )}
    </>
  );
}

function Layers({ layers }: { layers: Detail["layers"] }) {
  return (
    <Section title="Layers" note={plural(layers.length, "layer")}>
      <Panel className="divide-y divide-line">
        {layers.map((l, i) => (
          <div key={`${l.digest}${i}`} className="flex h-8 items-center gap-3 px-3.5">
            <span className="w-5 text-soft">{i + 1}</span>
            <span className="font-mono text-xs">{shortDigest(l.digest)}</span>
            <span className="ml-auto">{formatBytes(l.bytes)}</span>
          </div>
        ))}
        {!layers.length && <p className="px-3.5 py-3 text-soft">It has none.</p>}
      </Panel>
    </Section>
  );
}

const SHOWN = 200;

function Users({ name, machines }: { name: string; machines: readonly Machine[] }) {
  return (
    <Section title="Used by" note={plural(machines.length, "machine")}>
      <Panel className="max-h-80 divide-y divide-line overflow-y-auto">
        {machines.slice(0, SHOWN).map((m) => (
          <div key={m.id} className="flex h-8 items-center gap-3 px-3.5">
            <Link to="/machines/$name" params={{ name: m.name }} className="truncate font-medium hover:underline">
              {m.name}
            </Link>
            <span className="ml-auto">
              <MachineState machine={m} />
            </span>
          </div>
        ))}
        {!machines.length && <Empty title="No machine uses it." command={`vps run -d ${name}`} />}
      </Panel>
    </Section>
  );
}

function Past({ steps }: { steps: Detail["history"] }) {
  return (
    <Section title="History">
      <Panel className="divide-y divide-line">
        {steps.map((h, i) => (
          <div key={i} className="flex min-h-8 items-baseline gap-3 px-3.5 py-1.5">
            <code className="min-w-0 flex-1 font-mono text-xs break-all">{h.by || "–"}</code>
            <span className="text-soft">{h.bytes ? formatBytes(h.bytes) : ""}</span>
          </div>
        ))}
        {!steps.length && <p className="px-3.5 py-3 text-soft">It says nothing of how it was made.</p>}
      </Panel>
    </Section>
  );
}

function Words({ words }: { words: readonly string[] }) {
  return words.length ? <code className="font-mono text-xs break-all">{words.join(" ")}</code> : "–";
}

function TagDialog({ name, onOpenChange }: { name: string; onOpenChange: (open: boolean) => void }) {
  const [tag, setTag] = useState("");
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Another name for ${name}`}
      action="Tag"
      submit={() => client.tagImage({ params: { image: name }, body: { name: tag } })}
    >
      <Field label="Name" hint="With a registry in it, `vps image push` sends it there.">
        <input
          required
          autoFocus
          value={tag}
          onChange={(e) => setTag(e.target.value)}
          placeholder="ghcr.io/owner/app:v1"
          spellCheck={false}
          className="mono"
        />
      </Field>
    </FormDialog>
  );
}
