/** Buttons: one that may be pressed, one that says why not, and the link that looks like one. */
import { Tooltip } from "@base-ui/react/tooltip";
import type { LucideIcon } from "lucide-react";
import type { ComponentProps, ReactNode } from "react";

type Look = "plain" | "main" | "quiet" | "danger";
const LOOKS: Record<Look, string> = {
  plain: "border border-edge bg-raised hover:bg-hover",
  main: "border border-transparent bg-accent text-on-accent hover:brightness-110",
  quiet: "border border-transparent hover:bg-hover",
  danger: "border border-edge bg-raised text-bad hover:bg-hover",
};

/** The look of a button, for a link too. square: it has nothing but an icon. */
export function buttonLook(look: Look = "plain", square = false): string {
  return `inline-flex h-7 shrink-0 items-center justify-center gap-1.5 rounded-md text-sm font-medium whitespace-nowrap select-none aria-disabled:opacity-45 aria-disabled:hover:bg-transparent ${square ? "w-7" : "px-2.5"} ${LOOKS[look]}`;
}

type Props = Omit<ComponentProps<"button">, "disabled"> & {
  look?: Look;
  icon?: LucideIcon;
  /** Why it cannot be pressed now: it is then shown, and says so. */
  whyNot?: string | null;
  /** What it is, where it has no text of its own. */
  label?: string;
  busy?: boolean;
  children?: ReactNode;
};

export function Button({ look, icon: Icon, whyNot = null, label, busy = false, children, onClick, className = "", ...rest }: Props) {
  const off = whyNot !== null || busy;
  const square = children === undefined;
  const button = (
    <button
      type="button"
      {...rest}
      aria-label={label}
      aria-disabled={off || undefined}
      onClick={(e) => (off ? e.preventDefault() : onClick?.(e))}
      className={`${buttonLook(look, square)} ${className}`}
    >
      {Icon && <Icon size={14} aria-hidden className={busy ? "busy" : ""} />}
      {children}
    </button>
  );
  const hint = whyNot ?? (square ? label : undefined);
  return hint ? <Hint text={hint}>{button}</Hint> : button;
}

/** What something is, or why it is as it is, for who points at it. */
export function Hint({ text, children }: { text: ReactNode; children: React.ReactElement }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger render={children} delay={250} />
      <Tooltip.Portal>
        <Tooltip.Positioner sideOffset={6} className="pointer-events-none z-50">
          <Tooltip.Popup className="grow-in max-w-72 rounded-md border border-line bg-raised px-2 py-1 text-xs text-ink shadow-lg">
            {text}
          </Tooltip.Popup>
        </Tooltip.Positioner>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}
