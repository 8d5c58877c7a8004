/** Who is not signed in signs in; everybody else has the views. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useLocation } from "@tanstack/react-router";
import { useEffect } from "react";
import type { HyperlaneError } from "#contract/errors.ts";
import { connect } from "../data/live.ts";
import { queries } from "../data/queries.ts";
import { Empty, Problem } from "../kit/page.tsx";
import { Layout } from "./layout.tsx";
import { SignIn } from "./sign-in.tsx";

export function Root() {
  const cache = useQueryClient();
  // A link is for whoever has it, signed in before or not.
  const code = useLocation({ select: ({ hash, pathname }) => (pathname === "/sign-in" ? hash : "") });
  const { data: me, error, isPending } = useQuery({ ...queries.me, enabled: code === "" });
  const signedIn = me !== undefined && error === null;
  useEffect(() => {
    if (!signedIn) return;
    return connect(cache, () => {
      cache.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
      void cache.invalidateQueries(queries.me);
    });
  }, [signedIn, cache]);
  if (code !== "") return <SignIn code={code} />;
  if (isPending) return null;
  if ((error as HyperlaneError | null)?.code === "UNAUTHENTICATED") return <SignIn />;
  if (!me) return <Problem error={error} className="m-6" />;
  return <Layout />;
}

export function NotFound() {
  return (
    <Empty title="There is no such view.">
      <Link to="/" className="text-accent underline">
        Back to the overview
      </Link>
    </Empty>
  );
}
