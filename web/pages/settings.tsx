/** Who is signed in and how, API tokens, and what vouches for what. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { LogOut, Plus } from "lucide-react";
import { useState, type ReactNode } from "react";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { Button } from "../kit/button.tsx";
import { Code } from "../kit/copy.tsx";
import { ConfirmDialog, Dialog, FormDialog } from "../kit/dialog.tsx";
import { Choice, ChoiceField, Field } from "../kit/field.tsx";
import { Facts, PageHead, Panel, Section } from "../kit/page.tsx";
import { Ago } from "../kit/time.tsx";
import { complain } from "../kit/toast.tsx";
import { setTheme, useTheme, type Theme } from "../shell/theme.ts";

export function SettingsPage() {
  const { me, admin } = useMe();
  const theme = useTheme();
  const cache = useQueryClient();
  async function signOut(): Promise<void> {
    try {
      await client.closeSession({ params: { session: "current" } });
      cache.clear();
      location.assign("/web/");
    } catch (thrown) {
      complain(thrown);
    }
  }
  return (
    <>
      <PageHead title="Settings" />
      <div className="flex max-w-4xl flex-col gap-7 px-4 pb-8 sm:px-6">
        <Section
          title="You"
          actions={
            <Button icon={LogOut} onClick={() => void signOut()}>
              Sign out
            </Button>
          }
        >
          <Panel className="p-3.5">
            <Facts
              rows={[
                ["Name", me?.name],
                ["Role", me?.role === "admin" ? "admin: does everything" : "viewer: only looks"],
                me?.session != null && ["Signed in", <Ago key="s" at={me.session.createdAt} suffix />],
                me?.session != null && ["Until", new Date(me.session.expiresAt).toLocaleString()],
                [
                  "Theme",
                  <Choice
                    key="t"
                    aria-label="Theme"
                    value={theme}
                    options={[
                      ["system", "as the system has it"],
                      ["light", "light"],
                      ["dark", "dark"],
                    ]}
                    onChange={(e) => setTheme(e.target.value as Theme)}
                  />,
                ],
              ]}
            />
          </Panel>
        </Section>
        {admin && <Tokens />}
        {admin && <Sessions current={me?.session?.id} />}
        <Certificates />
        <p className="text-soft">
          The API is described at{" "}
          <a href="/docs" className="text-accent underline">
            /docs
          </a>
          ; all that is done here can be done with it, and with <code className="font-mono text-xs">vps</code>.
        </p>
      </div>
    </>
  );
}

function Lines({ children }: { children: ReactNode }) {
  return <Panel className="divide-y divide-line">{children}</Panel>;
}

function Tokens() {
  const { data = [] } = useQuery(queries.tokens);
  const { me } = useMe();
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<{ name: string; secret: string }>();
  const [revoking, setRevoking] = useState<string>();
  return (
    <Section
      title="API tokens"
      actions={
        <Button icon={Plus} onClick={() => setMaking(true)}>
          Create
        </Button>
      }
    >
      <Lines>
        {data.map((t) => (
          <div key={t.id} className="flex min-h-10 flex-wrap items-center gap-x-4 pr-1.5 pl-3.5">
            <span className="min-w-20 flex-1 truncate font-medium">{t.name}</span>
            <span className="w-16 text-soft">{t.role}</span>
            <span className="text-soft">
              <Ago at={t.createdAt} suffix />
            </span>
            <Button
              look="quiet"
              className="ml-auto text-bad"
              whyNot={t.id === me?.id ? "You are signed in with it" : null}
              onClick={() => setRevoking(t.name)}
            >
              Revoke
            </Button>
          </div>
        ))}
      </Lines>
      {making && <MakeToken onOpenChange={setMaking} made={setSecret} />}
      {secret && (
        <Dialog open onOpenChange={() => setSecret(undefined)} title={`The token ${secret.name}`}>
          <div className="flex flex-col gap-3 p-4">
            <p>This is shown once, now. Whoever has it may do what its role allows.</p>
            <div className="overflow-hidden rounded-md border border-line bg-page px-2.5 py-1.5">
              <Code text={secret.secret} />
            </div>
          </div>
        </Dialog>
      )}
      {revoking !== undefined && (
        <ConfirmDialog
          open
          onOpenChange={() => setRevoking(undefined)}
          title={`Revoke ${revoking}?`}
          action="Revoke"
          submit={() => client.removeToken({ params: { token: revoking } })}
        >
          Whoever uses it is refused from then on, and browsers that it signed in are signed out.
        </ConfirmDialog>
      )}
    </Section>
  );
}

function MakeToken({
  onOpenChange,
  made,
}: {
  onOpenChange: (open: boolean) => void;
  made: (token: { name: string; secret: string }) => void;
}) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<"admin" | "viewer">("viewer");
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Create an API token"
      action="Create"
      submit={async () => made(await client.createToken({ body: { name, role } }))}
    >
      <Field label="Name" hint="Who or what will use it.">
        <input required autoFocus value={name} onChange={(e) => setName(e.target.value)} placeholder="ci" className="mono" />
      </Field>
      <ChoiceField
        label="Role"
        value={role}
        options={[
          ["viewer", "viewer: only looks"],
          ["admin", "admin: does everything"],
        ]}
        onChange={(e) => setRole(e.target.value as "viewer")}
      />
    </FormDialog>
  );
}

function Sessions({ current }: { current: string | undefined }) {
  const { data = [] } = useQuery(queries.sessions);
  return (
    <Section title="Browsers that are signed in">
      <Lines>
        {data.map((s) => (
          <div key={s.id} className="flex min-h-10 flex-wrap items-center gap-x-4 pr-1.5 pl-3.5">
            <span className="min-w-20 flex-1 truncate font-medium">{s.name}</span>
            <span className="w-16 text-soft">{s.role}</span>
            <span className="text-soft">
              since <Ago at={s.createdAt} suffix />
            </span>
            {s.id === current ? (
              <span className="ml-auto pr-2 text-soft">this one</span>
            ) : (
              <Button
                look="quiet"
                className="ml-auto"
                onClick={() => void client.closeSession({ params: { session: s.id } }).catch(complain)}
              >
                Sign out
              </Button>
            )}
          </div>
        ))}
      </Lines>
    </Section>
  );
}

function Certificates() {
  const { data = [] } = useQuery(queries.certificates);
  return (
    <Section title="Certificates">
      <Lines>
        {data.map((c) => (
          <div key={c.name} className="flex flex-col gap-0.5 px-3.5 py-2">
            <div className="flex flex-wrap items-baseline gap-x-3">
              <span className="font-medium">{c.name}</span>
              <span className="text-soft">{c.summary}</span>
              <span className="ml-auto text-soft">
                {c.expiresAt === null ? "does not expire" : `until ${new Date(c.expiresAt).toISOString().slice(0, 10)}`}
              </span>
            </div>
            <Code text={c.fingerprint} />
          </div>
        ))}
      </Lines>
    </Section>
  );
}
