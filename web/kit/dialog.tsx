/** Dialogs: a form, and a question before what cannot be taken back. */
import { Dialog as Base } from "@base-ui/react/dialog";
import { useState, type FormEvent, type ReactNode } from "react";
import { X } from "lucide-react";
import type { HyperlaneError } from "#contract/errors.ts";
import { Button } from "./button.tsx";
import { Field } from "./field.tsx";
import { Problem } from "./page.tsx";

type Common = { open: boolean; onOpenChange: (open: boolean) => void; title: string; wide?: boolean };

export function Dialog({ open, onOpenChange, title, wide = false, children }: Common & { children: ReactNode }) {
  return (
    <Base.Root open={open} onOpenChange={onOpenChange}>
      <Base.Portal>
        <Base.Backdrop className="fade fixed inset-0 z-40 bg-shade" />
        <Base.Viewport className="fixed inset-0 z-40 flex items-start justify-center overflow-y-auto p-3 sm:pt-[9vh]">
          <Base.Popup className={`grow-in w-full rounded-xl border border-line bg-raised shadow-2xl ${wide ? "max-w-2xl" : "max-w-md"}`}>
            <header className="flex items-center justify-between border-b border-line px-4 py-2.5">
              <Base.Title className="text-base font-semibold">{title}</Base.Title>
              <Base.Close render={<Button look="quiet" icon={X} label="Close" className="-mr-1.5" />} />
            </header>
            {children}
          </Base.Popup>
        </Base.Viewport>
      </Base.Portal>
    </Base.Root>
  );
}

/** A dialog that asks for something and does it. submit: throws what is then shown. */
export function FormDialog({
  action,
  danger = false,
  whyNot = null,
  submit,
  children,
  ...common
}: Common & { action: string; danger?: boolean; whyNot?: string | null; submit: () => Promise<unknown>; children: ReactNode }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<HyperlaneError | null>(null);
  async function onSubmit(e: FormEvent): Promise<void> {
    e.preventDefault();
    if (busy || whyNot !== null) return;
    setBusy(true);
    setError(null);
    try {
      await submit();
      common.onOpenChange(false);
    } catch (thrown) {
      setError(thrown as HyperlaneError);
    } finally {
      setBusy(false);
    }
  }
  return (
    <Dialog {...common}>
      <form onSubmit={onSubmit}>
        <div className="flex flex-col gap-3.5 p-4">{children}</div>
        {error && <Problem error={error} className="mx-4 mb-4" />}
        <footer className="flex justify-end gap-2 border-t border-line px-4 py-3">
          <Base.Close render={<Button>Cancel</Button>} />
          <Button type="submit" look={danger ? "danger" : "main"} busy={busy} whyNot={whyNot}>
            {action}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** name: to be typed before it is done; left out where a mistake costs little. */
export function ConfirmDialog({
  name,
  children,
  ...form
}: Common & { name?: string; action: string; submit: () => Promise<unknown>; children: ReactNode }) {
  const [typed, setTyped] = useState("");
  const missing = name !== undefined && typed !== name;
  return (
    <FormDialog danger {...form} whyNot={missing ? `Type ${name} first` : null}>
      <div>{children}</div>
      {name !== undefined && (
        <Field
          label={
            <>
              Type <b className="font-mono font-medium text-ink select-all">{name}</b> to confirm
            </>
          }
        >
          <input
            autoFocus
            autoComplete="off"
            spellCheck={false}
            value={typed}
            onChange={(e) => setTyped(e.target.value)}
            className="mono"
          />
        </Field>
      )}
    </FormDialog>
  );
}
