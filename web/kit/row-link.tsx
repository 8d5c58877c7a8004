/** A link in a row: thousands of rows pass by, so it knows nothing but where it leads. */
import { useNavigate } from "@tanstack/react-router";
import type { ComponentProps } from "react";

/** to: a path below /web, with its search. */
export function RowLink({ to, ...rest }: { to: string } & ComponentProps<"a">) {
  const navigate = useNavigate();
  return (
    <a
      {...rest}
      href={`/web${to}`}
      onClick={(e) => {
        e.stopPropagation();
        // Whoever wants it in another tab gets it there.
        if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
        e.preventDefault();
        void navigate({ href: `/web${to}` });
      }}
    />
  );
}
