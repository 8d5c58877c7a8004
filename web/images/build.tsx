/** An image from a machine, as its disk is now. */
import { useState } from "react";
import { client } from "../data/client.ts";
import { useMachines } from "../data/queries.ts";
import { FormDialog } from "../kit/dialog.tsx";
import { ChoiceField, Field } from "../kit/field.tsx";
import { say } from "../kit/toast.tsx";
import { useWho } from "../machines/act.ts";
import { refusal } from "../machines/actions.ts";

/** machine: the one to make it from, where that is known. */
export function Build({ machine, onOpenChange }: { machine?: string; onOpenChange: (open: boolean) => void }) {
  const { machines } = useMachines();
  const who = useWho();
  const able = machines.filter((m) => refusal("image", m, who) === null);
  const [from, setFrom] = useState(machine ?? "");
  const [name, setName] = useState("");
  const chosen = from || able[0]?.name || "";
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Make an image from a machine"
      action="Make it"
      whyNot={chosen ? null : "No machine can be made an image of now"}
      submit={async () => {
        const image = await client.createImage({ body: { name, from: chosen } });
        say(`${image.name} is being made`);
      }}
    >
      <ChoiceField
        label="Machine"
        value={chosen}
        options={able.map((m) => [m.name, m.name] as const)}
        onChange={(e) => setFrom(e.target.value)}
      />
      <Field label="Name of the image">
        <input required autoFocus value={name} onChange={(e) => setName(e.target.value)} placeholder="my-api:v3" className="mono" />
      </Field>
    </FormDialog>
  );
}
