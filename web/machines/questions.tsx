/** What is asked before it is done to a machine: another name, which signal. */
import { useQueryClient } from "@tanstack/react-query";
import { useLocation, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { queries } from "../data/queries.ts";
import { FormDialog } from "../kit/dialog.tsx";
import { ChoiceField, Field } from "../kit/field.tsx";
import { say } from "../kit/toast.tsx";
import { putMachine } from "./act.ts";

type Asked = { machine: Machine; onOpenChange: (open: boolean) => void };

export function Rename({ machine, onOpenChange }: Asked) {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const here = useLocation({ select: (l) => l.pathname.includes(`/machines/${machine.name}`) });
  const [name, setName] = useState(machine.name);
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Rename ${machine.name}`}
      action="Rename"
      whyNot={name === machine.name ? "That is its name" : null}
      submit={async () => {
        const renamed = await client.renameMachine({ params: { machine: machine.id }, body: { name } });
        putMachine(cache, renamed);
        cache.setQueryData(queries.machine(renamed.name).queryKey, renamed);
        if (here) await navigate({ to: "/machines/$name", params: { name: renamed.name }, replace: true });
      }}
    >
      <Field label="Name" hint="Others reach it by the new name at once; it calls itself so from its next start on.">
        <input required autoFocus value={name} onChange={(e) => setName(e.target.value)} spellCheck={false} className="mono" />
      </Field>
    </FormDialog>
  );
}

const SIGNALS = ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT", "KILL", "STOP", "CONT"];

export function Kill({ machine, onOpenChange }: Asked) {
  const [signal, setSignal] = useState("TERM");
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Send a signal to ${machine.name}`}
      action="Send"
      submit={async () => {
        await client.killMachine({ params: { machine: machine.id }, body: { signal } });
        say(`${machine.name} was sent ${signal}`);
      }}
    >
      <ChoiceField
        label="Signal"
        value={signal}
        options={SIGNALS.map((s) => [s, s] as const)}
        onChange={(e) => setSignal(e.target.value)}
      />
      <p className="text-soft">It goes to the program that the machine runs. A machine that runs a whole system takes none.</p>
    </FormDialog>
  );
}
