/** The command palette: everywhere to go and everything to do, by a few letters of it. */
import { Dialog } from "@base-ui/react/dialog";
import { useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { useMachines } from "../data/queries.ts";
import { useAct, useWho } from "../machines/act.ts";
import { ACTION_NAMES, ACTIONS, whyNot } from "../machines/actions.ts";
import { matching, type Command } from "./commands.ts";
import { PLACES } from "./places.ts";
import { setTheme } from "./theme.ts";

const SHOWN = 60;

export function Palette({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog.Root open={open} onOpenChange={onOpenChange}>
      <Dialog.Portal>
        <Dialog.Backdrop className="fade fixed inset-0 z-50 bg-shade" />
        <Dialog.Viewport className="fixed inset-0 z-50 flex items-start justify-center p-3 pt-[12vh]">
          <Dialog.Popup
            aria-label="Commands"
            className="grow-in w-full max-w-xl overflow-hidden rounded-xl border border-line bg-raised shadow-2xl"
          >
            <Search close={() => onOpenChange(false)} />
          </Dialog.Popup>
        </Dialog.Viewport>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Search({ close }: { close: () => void }) {
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const commands = useCommands();
  const found = useMemo(() => matching(commands, query).slice(0, SHOWN), [commands, query]);
  const chosen = found[Math.min(at, found.length - 1)];
  const run = (command: Command | undefined): void => {
    if (!command) return;
    close();
    command.run();
  };
  const move = (by: number): void => setAt((n) => (found.length ? (Math.min(n, found.length - 1) + by + found.length) % found.length : 0));
  return (
    <>
      <input
        autoFocus
        role="combobox"
        aria-expanded
        aria-controls="commands"
        aria-activedescendant={chosen && `command-${chosen.id}`}
        aria-label="Search for a machine, a page or an action"
        placeholder="Search, or type what to do: stop api, pull nginx…"
        spellCheck={false}
        value={query}
        onChange={(e) => (setQuery(e.target.value), setAt(0))}
        onKeyDown={(e) => {
          if (e.key === "Enter") run(chosen);
          else if (e.key === "ArrowDown") move(1);
          else if (e.key === "ArrowUp") move(-1);
          else return;
          e.preventDefault();
        }}
        className="h-11 w-full border-b border-line bg-transparent px-4 text-base outline-none placeholder:text-soft"
      />
      <ul id="commands" role="listbox" aria-label="Commands" className="max-h-[min(24rem,60vh)] overflow-y-auto p-1.5">
        {found.map((c) => (
          <li
            key={c.id}
            id={`command-${c.id}`}
            role="option"
            aria-selected={c === chosen}
            ref={(li) => void (c === chosen && li?.scrollIntoView({ block: "nearest" }))}
            onMouseMove={() => setAt(found.indexOf(c))}
            onClick={() => run(c)}
            className="flex h-8 items-center gap-2 rounded-md px-2.5 aria-selected:bg-hover"
          >
            <span className="truncate">{c.label}</span>
            <span className="ml-auto shrink-0 text-xs text-soft">{c.hint}</span>
          </li>
        ))}
        {!found.length && <li className="px-2.5 py-6 text-center text-soft">Nothing is called that.</li>}
      </ul>
    </>
  );
}

function useCommands(): Command[] {
  const navigate = useNavigate();
  const { machines } = useMachines();
  const act = useAct();
  const who = useWho();
  return useMemo(() => {
    const go =
      (to: string, more: object = {}): (() => void) =>
      () =>
        void navigate({ to, ...more } as never);
    const ofMachine = (m: Machine): Command[] => [
      { id: m.id, label: m.name, hint: m.state, run: go("/machines/$name", { params: { name: m.name } }) },
      ...(["terminal", "logs", "files", "snapshots"] as const).map((view) => ({
        id: `${m.id}-${view}`,
        label: `${m.name} ${view}`,
        hint: "Open",
        deep: true as const,
        run: go(`/machines/$name/${view}`, { params: { name: m.name } }),
      })),
      ...ACTION_NAMES.filter((a) => whyNot(a, m, who) === null).map((a) => ({
        id: `${m.id}-${a}`,
        label: `${ACTIONS[a].label} ${m.name}`,
        hint: "Do",
        deep: true as const,
        // What cannot be taken back is asked for on the machine's own page.
        run: a === "destroy" ? go("/machines/$name", { params: { name: m.name }, search: { ask: "destroy" } }) : () => void act(a, [m]),
      })),
    ];
    return [
      ...PLACES.map((p) => ({ id: `go-${p.key}`, label: p.label, hint: `g ${p.key}`, run: go(p.to) })),
      { id: "create", label: "Create machine", hint: "c", run: go("/machines/new") },
      { id: "pull", label: "Pull image", hint: "Do", run: go("/images", { search: { ask: "pull" } }) },
      ...(["light", "dark", "system"] as const).map((t) => ({
        id: `theme-${t}`,
        label: `Theme: ${t}`,
        hint: "Do",
        deep: true as const,
        run: () => setTheme(t),
      })),
      ...machines.flatMap(ofMachine),
    ];
  }, [machines, who.admin, who.runtimes]);
}
