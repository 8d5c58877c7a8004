/** Fields of forms, over the browser's own controls. */
import { cloneElement, useId, type ComponentProps, type ReactElement, type ReactNode } from "react";

const CONTROL =
  "h-8 w-full rounded-md border border-edge bg-panel px-2.5 text-base sm:text-sm text-ink placeholder:text-soft outline-none focus:border-accent focus-visible:outline-2 focus-visible:outline-offset-0";

/** A label over its control. hint: what it means, or what is wrong. */
export function Field({
  label,
  hint,
  bad,
  children,
}: {
  label: ReactNode;
  hint?: ReactNode;
  bad?: boolean;
  children: ReactElement<ComponentProps<"input">>;
}) {
  const id = useId();
  const { className = "" } = children.props;
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className="text-sm text-soft">
        {label}
      </label>
      {cloneElement(children, {
        id,
        "aria-describedby": hint ? `${id}-hint` : undefined,
        "aria-invalid": bad || undefined,
        className: `${CONTROL} ${className.replace("mono", "font-mono")} ${bad ? "border-bad" : ""}`,
      })}
      {hint && (
        <p id={`${id}-hint`} className={`text-xs ${bad ? "text-bad" : "text-soft"}`}>
          {hint}
        </p>
      )}
    </div>
  );
}

export function Check({ label, ...rest }: { label: ReactNode } & ComponentProps<"input">) {
  return (
    <label className="flex items-center gap-2">
      <input type="checkbox" {...rest} className="size-3.5 accent-accent" />
      <span>{label}</span>
    </label>
  );
}

/** Words to look for. `/` goes to it. */
export function SearchField({
  value,
  onValue,
  label,
  ...rest
}: { value: string; onValue: (v: string) => void; label: string } & Omit<ComponentProps<"input">, "onChange">) {
  return (
    <input
      type="search"
      aria-label={label}
      placeholder={label}
      autoComplete="off"
      spellCheck={false}
      data-search
      {...rest}
      value={value}
      onChange={(e) => onValue(e.target.value)}
      onKeyDown={(e) => e.key === "Escape" && (value ? onValue("") : e.currentTarget.blur())}
      className={`${CONTROL} h-7! ${rest.className ?? ""}`}
    />
  );
}

export function Choice({ options, ...rest }: { options: readonly (readonly [value: string, label: string])[] } & ComponentProps<"select">) {
  return (
    <select {...rest} className={`${CONTROL} h-7! w-auto! pr-7 ${rest.className ?? ""}`}>
      {options.map(([value, label]) => (
        <option key={value} value={value}>
          {label}
        </option>
      ))}
    </select>
  );
}

/** One of several, as a field of a form. */
export function ChoiceField({ label, ...rest }: { label: string } & ComponentProps<typeof Choice>) {
  return (
    <label className="flex min-w-0 flex-col gap-1 text-soft">
      {label}
      <Choice {...rest} className="h-8! w-full!" />
    </label>
  );
}
