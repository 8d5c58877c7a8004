/** Signing in: by the link that `vps web` prints, or by an API token. Neither is kept here. */
import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { Button } from "../kit/button.tsx";
import { Code } from "../kit/copy.tsx";
import { Field } from "../kit/field.tsx";
import { Problem } from "../kit/page.tsx";
import { client } from "../data/client.ts";
import { queries } from "../data/queries.ts";

/** code: of a link. */
export function SignIn({ code = "" }: { code?: string }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const tried = useRef(false);

  async function open(body: { code: string } | { token: string }): Promise<void> {
    setBusy(true);
    setError(null);
    try {
      await client.openSession({ body });
      await cache.resetQueries(queries.me);
      if (code) await navigate({ to: "/", replace: true });
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  }
  useEffect(() => {
    if (!code || tried.current) return;
    tried.current = true;
    void open({ code });
  }, []);

  function onSubmit(e: FormEvent<HTMLFormElement>): void {
    e.preventDefault();
    const token = String(new FormData(e.currentTarget).get("token")).trim();
    if (token) void open({ token });
  }
  return (
    <main className="flex min-h-full items-center justify-center p-4">
      <div className="flex w-full max-w-sm flex-col gap-5 rounded-xl border border-line bg-panel p-6">
        <h1 className="text-lg font-semibold">Sign in to Hyperlane</h1>
        {error !== null && <Problem error={error} />}
        {error !== null && code !== "" && (
          <Link to="/" replace className="text-accent underline">
            Go on as whoever is signed in here
          </Link>
        )}
        <div className="flex flex-col gap-1.5">
          <p className="text-soft">On a host where you use the command line:</p>
          <div className="rounded-md border border-line bg-page px-2.5 py-1">
            <Code text="vps web" />
          </div>
          <p className="text-soft">It prints a link that signs this browser in for a week.</p>
        </div>
        <form onSubmit={onSubmit} className="flex flex-col gap-3 border-t border-line pt-4">
          <Field label="Or an API token">
            <input name="token" type="password" autoComplete="off" spellCheck={false} className="mono" />
          </Field>
          <Button type="submit" look="main" busy={busy} className="self-end">
            Sign in
          </Button>
        </form>
      </div>
    </main>
  );
}
