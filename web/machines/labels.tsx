import { useQueryClient } from "@tanstack/react-query";
import { Pencil } from "lucide-react";
import { useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { Button } from "../kit/button.tsx";
import { FormDialog } from "../kit/dialog.tsx";
import { Field } from "../kit/field.tsx";
import { useMe } from "../data/queries.ts";
import { putMachine } from "./act.ts";
import { readLabels, writeLabels } from "./form.ts";

export function EditLabels({ machine }: { machine: Machine }) {
  const { viewer } = useMe();
  const cache = useQueryClient();
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const begin = (): void => {
    setText(writeLabels(machine.labels));
    setOpen(true);
  };
  return (
    <>
      <Button look="quiet" icon={Pencil} label="Change labels" whyNot={viewer} onClick={begin} />
      <FormDialog
        open={open}
        onOpenChange={setOpen}
        title={`Labels of ${machine.name}`}
        action="Save"
        submit={async () =>
          putMachine(cache, await client.updateMachine({ params: { machine: machine.id }, body: { labels: readLabels(text) } }))
        }
      >
        <Field label="Labels" hint="KEY=VALUE, with spaces between them.">
          <input autoFocus value={text} onChange={(e) => setText(e.target.value)} placeholder="team=core tier=1" className="mono" />
        </Field>
      </FormDialog>
    </>
  );
}
