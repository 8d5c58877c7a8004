/** A new machine: a name is enough. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent, type ReactNode } from "react";
import { toHyperlaneError, type HyperlaneError } from "#contract/errors.ts";
import { parseMib } from "#contract/size.ts";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { Button } from "../kit/button.tsx";
import { Code } from "../kit/copy.tsx";
import { Check, ChoiceField, Field } from "../kit/field.tsx";
import { PageHead, Panel, Problem } from "../kit/page.tsx";
import { putMachine, useWho } from "./act.ts";
import { Cost } from "./cost.tsx";
import { commandFor, EMPTY_FORM, requestFor, type Form } from "./form.ts";

const SHAPES = [
  ["1", "512M"],
  ["1", "1G"],
  ["2", "2G"],
  ["4", "4G"],
  ["8", "8G"],
] as const;

export function CreatePage() {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const { viewer } = useMe();
  const { runtimes } = useWho();
  const { data: images = [] } = useQuery(queries.images);
  const [form, setForm] = useState<Form>(EMPTY_FORM);
  const [more, setMore] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<HyperlaneError | null>(null);
  const put =
    (key: keyof Form) =>
    (e: { target: { value: string } }): void =>
      setForm((f) => ({ ...f, [key]: e.target.value }));
  /** The field that the API found wrong. */
  const wrong = (...fields: string[]) => {
    const bad = error?.field !== undefined && fields.includes(error.field);
    return { bad, ...(bad && { hint: error.message }) };
  };
  const sizes = { cpu: Number(form.cpu), memoryMib: parseMib(form.memory), diskMib: parseMib(form.disk) };
  const badSize = sizes.memoryMib === undefined || sizes.diskMib === undefined;

  async function onSubmit(e: FormEvent): Promise<void> {
    e.preventDefault();
    if (busy || badSize) return;
    setBusy(true);
    setError(null);
    try {
      const machine = await client.createMachine({ body: requestFor(form) });
      putMachine(cache, machine);
      cache.setQueryData(queries.machine(machine.name).queryKey, machine);
      await navigate({ to: "/machines/$name", params: { name: machine.name } });
    } catch (thrown) {
      setError(toHyperlaneError(thrown));
      setBusy(false);
    }
  }
  return (
    <>
      <PageHead title="Create a machine" />
      <form onSubmit={onSubmit} className="grid grid-cols-[minmax(0,1fr)] gap-6 px-4 pb-8 sm:px-6 lg:grid-cols-[minmax(0,34rem)_18rem]">
        <div className="flex flex-col gap-4">
          <Field label="Name" hint="Lower-case letters, digits and dashes. It is its host name as well." {...wrong("name")}>
            <input
              autoFocus
              required
              value={form.name}
              onChange={put("name")}
              placeholder="api-prod"
              autoComplete="off"
              spellCheck={false}
              className="mono"
            />
          </Field>
          <Field label="Image" {...wrong("spec.image")}>
            <input required value={form.image} onChange={put("image")} list="images" spellCheck={false} className="mono" />
          </Field>
          <datalist id="images">
            {images
              .filter((i) => i.state === "ready")
              .map((i) => (
                <option key={i.id} value={i.name} />
              ))}
          </datalist>
          <fieldset className="flex flex-col gap-2">
            <legend className="pb-1 text-soft">Size</legend>
            <div className="flex flex-wrap gap-1.5">
              {SHAPES.map(([cpu, memory]) => (
                <button
                  key={`${cpu}${memory}`}
                  type="button"
                  aria-pressed={form.cpu === cpu && form.memory === memory}
                  onClick={() => setForm({ ...form, cpu, memory })}
                  className="rounded-md border border-edge px-2.5 py-1 hover:bg-hover aria-pressed:border-accent aria-pressed:bg-chosen"
                >
                  {cpu} CPU, {memory}
                </button>
              ))}
            </div>
            <div className="grid grid-cols-3 gap-3">
              <Field label="CPU" {...wrong("spec.cpu")}>
                <input type="number" min={1} max={64} required value={form.cpu} onChange={put("cpu")} />
              </Field>
              <Field
                label="RAM"
                {...wrong("spec.memoryMib")}
                {...(sizes.memoryMib === undefined && { bad: true, hint: "Like 512M or 2G" })}
              >
                <input required value={form.memory} onChange={put("memory")} />
              </Field>
              <Field label="Disk" {...wrong("spec.diskMib")} {...(sizes.diskMib === undefined && { bad: true, hint: "Like 10G" })}>
                <input required value={form.disk} onChange={put("disk")} />
              </Field>
            </div>
          </fieldset>
          {more ? (
            <More
              form={form}
              put={put}
              setForm={setForm}
              runtimes={runtimes.filter((r) => r.nodes.length).map((r) => r.name)}
              wrong={wrong}
            />
          ) : (
            <Button look="quiet" className="self-start text-soft" onClick={() => setMore(true)}>
              More: command, environment, ports, labels, runtime…
            </Button>
          )}
          {error && <Problem error={error} />}
          <div className="flex items-center gap-2">
            <Button type="submit" look="main" busy={busy} whyNot={viewer ?? (badSize ? "A size is not right" : null)}>
              Create
            </Button>
            <Button onClick={() => history.back()}>Cancel</Button>
          </div>
        </div>
        <aside className="flex flex-col gap-3">
          <Panel className="flex flex-col gap-3 p-3.5">
            <h2 className="font-semibold">What it takes</h2>
            <Cost spec={{ cpu: sizes.cpu || 0, memoryMib: sizes.memoryMib ?? 0, diskMib: sizes.diskMib ?? 0 }} />
          </Panel>
          <Panel className="flex flex-col gap-1.5 p-3.5">
            <h2 className="font-semibold">The same on a command line</h2>
            <Code text={commandFor(form)} />
          </Panel>
        </aside>
      </form>
    </>
  );
}

type MoreProps = {
  form: Form;
  put: (key: keyof Form) => (e: { target: { value: string } }) => void;
  setForm: (form: Form) => void;
  runtimes: readonly string[];
  wrong: (...fields: string[]) => { bad: boolean; hint?: ReactNode };
};

function More({ form, put, setForm, runtimes, wrong }: MoreProps) {
  return (
    <>
      <Field label="Command" hint="In the place of the image's own." {...wrong("spec.cmd")}>
        <input value={form.command} onChange={put("command")} placeholder="as the image says" spellCheck={false} className="mono" />
      </Field>
      <Field label="Environment" hint="NAME=value, with spaces between them." {...wrong("spec.env")}>
        <input value={form.env} onChange={put("env")} placeholder="MODE=production PORT=8080" spellCheck={false} className="mono" />
      </Field>
      <div className="grid grid-cols-2 gap-3">
        <Field label="Ports" hint="8080:80 makes its port 80 reachable as 8080." {...wrong("exposures", "hostPort")}>
          <input value={form.ports} onChange={put("ports")} placeholder="8080:80 8443:443" className="mono" />
        </Field>
        <Field label="Labels" {...wrong("labels")}>
          <input value={form.labels} onChange={put("labels")} placeholder="team=core" className="mono" />
        </Field>
        <ChoiceField
          label="Runtime"
          value={form.runtime}
          options={[["", "any"], ...runtimes.map((r) => [r, r] as const)]}
          onChange={put("runtime")}
        />
        <ChoiceField
          label="When it ends"
          value={form.restart}
          options={[
            ["on-failure", "start again if it failed"],
            ["always", "always start again"],
            ["no", "leave it"],
          ]}
          onChange={put("restart")}
        />
      </div>
      <Check label="Start it at once" checked={form.start} onChange={(e) => setForm({ ...form, start: e.target.checked })} />
    </>
  );
}
