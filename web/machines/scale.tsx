import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { formatMib, parseMib } from "#contract/size.ts";
import { client } from "../data/client.ts";
import { Button } from "../kit/button.tsx";
import { FormDialog } from "../kit/dialog.tsx";
import { Check, Field } from "../kit/field.tsx";
import { putMachine, useWho } from "./act.ts";
import { refusal } from "./actions.ts";
import { Cost } from "./cost.tsx";

/** Another number of CPUs, another size of RAM. */
export function Scale({ machine }: { machine: Machine }) {
  const who = useWho();
  const cache = useQueryClient();
  const { spec } = machine;
  const [open, setOpen] = useState(false);
  const [cpu, setCpu] = useState(String(spec.cpu));
  const [memory, setMemory] = useState(formatMib(spec.memoryMib));
  const [restart, setRestart] = useState(true);
  const memoryMib = parseMib(memory);
  const runs = machine.state !== "stopped" && machine.state !== "failed";
  const begin = (): void => {
    setCpu(String(spec.cpu));
    setMemory(formatMib(spec.memoryMib));
    setOpen(true);
  };
  return (
    <>
      <Button look="quiet" whyNot={refusal("scale", machine, who)} onClick={begin}>
        Resize
      </Button>
      <FormDialog
        open={open}
        onOpenChange={setOpen}
        title={`Resize ${machine.name}`}
        action="Resize"
        whyNot={memoryMib === undefined ? "The RAM must be a size like 512M or 2G" : null}
        submit={async () => {
          const body = { cpu: Number(cpu), memoryMib: memoryMib!, restart: restart && runs };
          putMachine(cache, await client.updateMachine({ params: { machine: machine.id }, body }));
        }}
      >
        <div className="grid grid-cols-2 gap-3">
          <Field label="CPU">
            <input type="number" min={1} max={64} required value={cpu} onChange={(e) => setCpu(e.target.value)} />
          </Field>
          <Field label="RAM" bad={memoryMib === undefined}>
            <input required value={memory} onChange={(e) => setMemory(e.target.value)} />
          </Field>
        </div>
        <Cost spec={{ cpu: Number(cpu) - spec.cpu, memoryMib: (memoryMib ?? 0) - spec.memoryMib, diskMib: 0 }} />
        {runs && <Check label="Restart it now, which applies it" checked={restart} onChange={(e) => setRestart(e.target.checked)} />}
      </FormDialog>
    </>
  );
}
