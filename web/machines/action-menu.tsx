/** What can be done with one machine: as a menu in a row, as buttons on its page. */
import {
  CirclePause,
  CirclePlay,
  Ellipsis,
  Layers,
  Moon,
  Pencil,
  Play,
  RotateCw,
  Square,
  Trash2,
  Zap,
  type LucideIcon,
} from "lucide-react";
import { useState } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { Button, buttonLook } from "../kit/button.tsx";
import { ConfirmDialog } from "../kit/dialog.tsx";
import { Menu, type MenuItem } from "../kit/menu.tsx";
import { Build } from "../images/build.tsx";
import { useAct, useWho } from "./act.ts";
import { ACTION_NAMES, ACTIONS, refusal, whyNot, type ActionName } from "./actions.ts";
import { Kill, Rename } from "./questions.tsx";

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

type Question = "destroy" | "rename" | "kill" | "image";

/** ask: "destroy" asks for that at once; onAsked: it has been answered. open: at first. */
export function ActionMenu({
  machine,
  ask,
  onAsked,
  open = false,
}: {
  machine: Machine;
  ask?: string | undefined;
  onAsked?: () => void;
  open?: boolean;
}) {
  const act = useAct();
  const who = useWho();
  const [asking, setAsking] = useState<Question | undefined>(ask === "destroy" ? ask : undefined);
  const close = (): void => {
    setAsking(undefined);
    onAsked?.();
  };
  const question = (label: string, icon: LucideIcon, what: Question, why: string | null): MenuItem => ({
    ...{ label, icon, whyNot: why, danger: what === "destroy" },
    run: () => setAsking(what),
  });
  const items: (MenuItem | "line")[] = [
    ...ACTION_NAMES.filter((name) => name !== "destroy").map((name) => ({
      label: ACTIONS[name].label,
      icon: ICONS[name],
      whyNot: whyNot(name, machine, who),
      run: () => void act(name, [machine]),
    })),
    "line",
    question("Rename…", Pencil, "rename", refusal("rename", machine, who)),
    question("Send a signal…", Zap, "kill", refusal("kill", machine, who)),
    question("Make an image…", Layers, "image", refusal("image", machine, who)),
    "line",
    question("Destroy…", Trash2, "destroy", whyNot("destroy", machine, who)),
  ];
  return (
    <>
      <Menu
        open={open}
        trigger={<Button look="quiet" icon={Ellipsis} label={`Actions for ${machine.name}`} className="text-soft" />}
        items={items}
      />
      {asking === "destroy" && <Destroy machine={machine} onOpenChange={close} />}
      {asking === "rename" && <Rename machine={machine} onOpenChange={close} />}
      {asking === "kill" && <Kill machine={machine} onOpenChange={close} />}
      {asking === "image" && <Build machine={machine.name} onOpenChange={close} />}
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
