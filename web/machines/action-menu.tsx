/** What can be done with one machine: as a menu in a row, as buttons on its page. */
import { CirclePause, CirclePlay, Ellipsis, Moon, Play, RotateCw, Square, Trash2, type LucideIcon } from "lucide-react";
import { useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { Button, buttonLook } from "../kit/button.tsx";
import { ConfirmDialog } from "../kit/dialog.tsx";
import { Menu, type MenuItem } from "../kit/menu.tsx";
import { useAct, useWho } from "./act.ts";
import { ACTION_NAMES, ACTIONS, whyNot, type ActionName } from "./actions.ts";

const ICONS: Record<ActionName, LucideIcon> = {
  start: Play,
  stop: Square,
  restart: RotateCw,
  pause: CirclePause,
  resume: CirclePlay,
  standby: Moon,
  destroy: Trash2,
};

/** In a row: no more than a button until somebody wants it. */
export function RowActions({ machine }: { machine: Machine }) {
  const [wanted, setWanted] = useState(false);
  if (wanted) return <ActionMenu machine={machine} open />;
  return (
    <button
      type="button"
      aria-haspopup="menu"
      aria-label={`Actions for ${machine.name}`}
      onClick={() => setWanted(true)}
      className={`${buttonLook("quiet", true)} text-soft`}
    >
      <Ellipsis size={14} aria-hidden />
    </button>
  );
}

/** ask: "destroy" asks for that at once. open: at first. */
export function ActionMenu({ machine, ask, open = false }: { machine: Machine; ask?: string | undefined; open?: boolean }) {
  const act = useAct();
  const who = useWho();
  const [destroying, setDestroying] = useState(ask === "destroy");
  const items = ACTION_NAMES.flatMap((name): (MenuItem | "line")[] => [
    ...(name === "destroy" ? (["line"] as const) : []),
    {
      label: name === "destroy" ? "Destroy…" : ACTIONS[name].label,
      icon: ICONS[name],
      danger: name === "destroy",
      whyNot: whyNot(name, machine, who),
      run: () => (name === "destroy" ? setDestroying(true) : void act(name, [machine])),
    },
  ]);
  return (
    <>
      <Menu
        open={open}
        trigger={<Button look="quiet" icon={Ellipsis} label={`Actions for ${machine.name}`} className="text-soft" />}
        items={items}
      />
      {destroying && <Destroy machine={machine} onOpenChange={setDestroying} />}
    </>
  );
}

/** The two or three that one would want now, as buttons. */
export function ActionButtons({ machine }: { machine: Machine }) {
  const act = useAct();
  const who = useWho();
  const first: ActionName[] =
    machine.state === "paused"
      ? ["resume", "stop"]
      : ["stopped", "failed", "standby"].includes(machine.state)
        ? ["start"]
        : ["restart", "stop"];
  return first.map((name) => (
    <Button
      key={name}
      icon={ICONS[name]}
      whyNot={whyNot(name, machine, who)}
      onClick={() => void act(name, [machine])}
      className="max-sm:hidden"
    >
      {machine.state === "failed" && name === "start" ? "Try again" : ACTIONS[name].label}
    </Button>
  ));
}

function Destroy({ machine, onOpenChange }: { machine: Machine; onOpenChange: (open: boolean) => void }) {
  const act = useAct();
  return (
    <ConfirmDialog
      open
      onOpenChange={onOpenChange}
      title={`Destroy ${machine.name}?`}
      name={machine.name}
      action="Destroy"
      submit={() => act("destroy", [machine])}
    >
      Its disk and its snapshots go with it, and cannot be had back. Volumes stay.
    </ConfirmDialog>
  );
}
