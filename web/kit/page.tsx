/** What pages are made of: a head, sections, lists of facts, and what is shown where there is nothing, or nothing yet, or a failure. */
import { Link } from "@tanstack/react-router";
import { useEffect, type ReactNode } from "react";
import { toHyperlaneError } from "#contract/errors.ts";
import { Copy } from "./copy.tsx";

/** above: the page that lists what this one is of. */
export function PageHead({
  title,
  above,
  note,
  children,
}: {
  title: string;
  above?: { to: string; label: string };
  note?: ReactNode;
  children?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · Hyperlane`;
  }, [title]);
  return (
    <header className="flex min-h-13 flex-wrap items-center gap-x-3 gap-y-2 px-4 py-3 sm:px-6">
      <h1 className="flex min-w-0 items-center gap-2.5 truncate text-lg font-semibold tracking-tight">
        {above && (
          <>
            <Link to={above.to} className="text-soft hover:text-ink max-sm:hidden">
              {above.label}
            </Link>
            <span className="text-soft max-sm:hidden">/</span>
          </>
        )}
        <span className="truncate">{title}</span>
      </h1>
      {note && <span className="text-soft">{note}</span>}
      <div className="ml-auto flex flex-wrap items-center gap-2">{children}</div>
    </header>
  );
}

export function Section({
  title,
  note,
  actions,
  children,
}: {
  title: ReactNode;
  note?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <section className="flex min-w-0 flex-col">
      <div className="flex min-h-8 items-center gap-2 pb-1.5">
        <h2 className="font-semibold">{title}</h2>
        {note && <span className="text-soft">{note}</span>}
        <div className="ml-auto flex items-center gap-2">{actions}</div>
      </div>
      {children}
    </section>
  );
}

export function Panel({ children, className = "" }: { children: ReactNode; className?: string }) {
  return <div className={`min-w-0 rounded-lg border border-line bg-panel ${className}`}>{children}</div>;
}

/** Names and what they stand for, in two columns. */
export function Facts({ rows }: { rows: readonly (readonly [name: ReactNode, value: ReactNode] | null | false)[] }) {
  return (
    <dl className="grid grid-cols-[minmax(5.5rem,auto)_1fr] gap-x-5 gap-y-1.5">
      {rows.map(
        (row, i) =>
          row && (
            <div key={i} className="contents">
              <dt className="text-soft">{row[0]}</dt>
              <dd className="min-w-0 break-words">{row[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

/** Nothing here yet: what it would be, and the command that makes one. */
export function Empty({ title, command, children }: { title: string; command?: string; children?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-2.5 px-4 py-14 text-center">
      <p className="font-medium">{title}</p>
      {children && <div className="max-w-md text-soft">{children}</div>}
      {command && (
        <div className="flex items-center gap-1 rounded-md border border-line bg-panel py-1 pr-1 pl-2.5">
          <code className="font-mono text-xs">{command}</code>
          <Copy text={command} label="Copy the command" />
        </div>
      )}
    </div>
  );
}

export function Problem({ error, className = "" }: { error: unknown; className?: string }) {
  const { message, hint } = toHyperlaneError(error);
  return (
    <div role="alert" className={`rounded-md border border-line border-l-2 border-l-bad bg-panel px-3 py-2 ${className}`}>
      <p>{message}</p>
      <p className="text-soft">{hint}</p>
    </div>
  );
}

/** The place of lines that are being read. */
export function Waiting({ lines = 6 }: { lines?: number }) {
  return (
    <div className="flex flex-col gap-3 px-4 py-4 sm:px-6" role="status" aria-label="Reading">
      {Array.from({ length: lines }, (_, i) => (
        <div key={i} className={`waiting h-4 ${["w-2/3", "w-1/2", "w-3/4"][i % 3]}`} />
      ))}
    </div>
  );
}
