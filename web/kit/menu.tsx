import { Menu as Base } from "@base-ui/react/menu";
import type { LucideIcon } from "lucide-react";
import type { ReactElement } from "react";
import { Hint } from "./button.tsx";

/** whyNot: it is shown, and says why it cannot be chosen. */
export type MenuItem = { label: string; icon?: LucideIcon; danger?: boolean; whyNot?: string | null; run: () => void };

/** open: at first. */
export function Menu({ trigger, items, open = false }: { trigger: ReactElement; items: readonly (MenuItem | "line")[]; open?: boolean }) {
  return (
    <Base.Root modal={false} defaultOpen={open}>
      <Base.Trigger render={trigger} />
      <Base.Portal>
        <Base.Positioner sideOffset={4} align="end" className="z-40 outline-none">
          <Base.Popup className="grow-in min-w-44 rounded-lg border border-line bg-raised p-1 shadow-xl outline-none">
            {items.map((item, i) =>
              item === "line" ? <Base.Separator key={i} className="my-1 h-px bg-line" /> : <Item key={item.label} {...item} />,
            )}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}

function Item({ label, icon: Icon, danger, whyNot = null, run }: MenuItem) {
  const item = (
    <Base.Item
      disabled={whyNot !== null}
      onClick={run}
      className={`flex h-7 items-center gap-2 rounded-md px-2 outline-none data-disabled:opacity-45 data-highlighted:bg-hover ${danger ? "text-bad" : ""}`}
    >
      {Icon && <Icon size={14} aria-hidden />}
      {label}
    </Base.Item>
  );
  return whyNot === null ? item : <Hint text={whyNot}>{item}</Hint>;
}
