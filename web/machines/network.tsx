/** How a machine is reached, and what is mounted in it: ports, networks, volumes. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Plus, X } from "lucide-react";
import { useState, type ReactNode } from "react";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { queries, useMe } from "../data/queries.ts";
import { Button } from "../kit/button.tsx";
import { FormDialog } from "../kit/dialog.tsx";
import { Check, ChoiceField, Field } from "../kit/field.tsx";
import { Panel, Section } from "../kit/page.tsx";
import { complain } from "../kit/toast.tsx";
import { putMachine, useWho } from "./act.ts";
import { refusal } from "./actions.ts";
import { useCurrent } from "./machine.tsx";

type Asking = "port" | "network" | "volume" | undefined;

export function NetworkTab() {
  const machine = useCurrent();
  const who = useWho();
  const cache = useQueryClient();
  const [asking, setAsking] = useState<Asking>();
  const { data: nodes } = useQuery(queries.nodes);
  const params = { machine: machine.id };
  const put = (asked: Promise<Machine>): void => void asked.then((m) => putMachine(cache, m), complain);
  const add = (what: NonNullable<Asking>, verb: "expose" | "network" | "mount", label: string) => (
    <Button icon={Plus} whyNot={refusal(verb, machine, who)} onClick={() => setAsking(what)}>
      {label}
    </Button>
  );
  const { name: node = "the node", address = "" } = nodes?.find((n) => n.id === machine.node) ?? {};
  // A node on the control plane's own host is where this page came from.
  const host = /^(127\.|localhost)/.test(address) || !address ? location.hostname : address.replace(/:\d+$/, "");
  return (
    <div className="flex flex-col gap-6 p-4 sm:p-6">
      <Section title="Exposed ports" actions={add("port", "expose", "Expose")}>
        <Rows empty="Nothing of it is reachable from outside.">
          {machine.exposures.map((e) => (
            <Row
              key={`${e.protocol}${e.port}`}
              remove={() => put(client.unexposeMachine({ params: { ...params, port: String(e.port) } }))}
              label={`Close port ${e.port}`}
            >
              <span className="font-mono text-xs">
                {e.hostIp ?? node}:{e.hostPort}
              </span>
              <span className="text-soft">
                leads to port {e.port}/{e.protocol}
              </span>
              {e.protocol === "tcp" && (
                <a href={`http://${host}:${e.hostPort}/`} target="_blank" rel="noreferrer" className="text-accent hover:underline">
                  open
                </a>
              )}
            </Row>
          ))}
        </Rows>
      </Section>
      <Section title="Networks" actions={add("network", "network", "Join")}>
        <Rows empty="It is in no network: it reaches nobody, and nobody it.">
          {machine.spec.networks.map((n) => (
            <Row
              key={n.network}
              remove={() => put(client.leaveNetwork({ params: { ...params, network: n.network } }))}
              label={`Leave ${n.network}`}
            >
              <Link to="/networks" search={{ q: n.network }} className="font-medium hover:underline">
                {n.network}
              </Link>
              {n.aliases.length > 0 && <span className="text-soft">also as {n.aliases.join(", ")}</span>}
            </Row>
          ))}
        </Rows>
      </Section>
      <Section title="Volumes" actions={add("volume", "mount", "Mount")}>
        <Rows empty="Nothing is mounted in it.">
          {machine.spec.mounts.map((m) => (
            <Row
              key={m.path}
              {...(m.volume !== null && { remove: () => put(client.unmountVolume({ params: { ...params, volume: m.volume! } })) })}
              label={`Take ${m.volume} away`}
            >
              <span className="font-medium">{m.volume ?? m.folder}</span>
              <span className="text-soft">at</span>
              <span className="font-mono text-xs">{m.path}</span>
              {m.readonly && <span className="text-soft">read-only</span>}
            </Row>
          ))}
        </Rows>
      </Section>
      {asking === "port" && <Expose onOpenChange={() => setAsking(undefined)} />}
      {asking === "network" && <Join onOpenChange={() => setAsking(undefined)} />}
      {asking === "volume" && <Mount onOpenChange={() => setAsking(undefined)} />}
    </div>
  );
}

function Rows({ children, empty }: { children: ReactNode[]; empty: string }) {
  return <Panel className="divide-y divide-line">{children.length ? children : <p className="px-3.5 py-3 text-soft">{empty}</p>}</Panel>;
}

function Row({ children, remove, label }: { children: ReactNode; remove?: () => void; label: string }) {
  const { viewer } = useMe();
  return (
    <div className="flex min-h-9 flex-wrap items-center gap-x-2.5 py-0.5 pr-1.5 pl-3.5">
      {children}
      {remove && <Button look="quiet" icon={X} label={label} whyNot={viewer} className="ml-auto" onClick={remove} />}
    </div>
  );
}

type Asked = { onOpenChange: (open: boolean) => void };

function Expose({ onOpenChange }: Asked) {
  const machine = useCurrent();
  const cache = useQueryClient();
  const [port, setPort] = useState("");
  const [hostPort, setHostPort] = useState("");
  const [protocol, setProtocol] = useState<"tcp" | "udp">("tcp");
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Expose a port of ${machine.name}`}
      action="Expose"
      submit={async () => {
        const body = { port: Number(port), protocol, ...(hostPort && { hostPort: Number(hostPort) }) };
        putMachine(cache, await client.exposeMachine({ params: { machine: machine.id }, body }));
      }}
    >
      <div className="grid grid-cols-3 gap-3">
        <Field label="Its port">
          <input
            type="number"
            min={1}
            max={65535}
            required
            autoFocus
            value={port}
            onChange={(e) => setPort(e.target.value)}
            placeholder="80"
          />
        </Field>
        <Field label="On the node" hint="Left out: the same.">
          <input
            type="number"
            min={1}
            max={65535}
            value={hostPort}
            onChange={(e) => setHostPort(e.target.value)}
            placeholder={port || "8080"}
          />
        </Field>
        <ChoiceField
          label="Protocol"
          value={protocol}
          options={[
            ["tcp", "TCP"],
            ["udp", "UDP"],
          ]}
          onChange={(e) => setProtocol(e.target.value as "tcp")}
        />
      </div>
    </FormDialog>
  );
}

function Join({ onOpenChange }: Asked) {
  const machine = useCurrent();
  const cache = useQueryClient();
  const { data = [] } = useQuery(queries.networks);
  const others = ["default", ...data.map((n) => n.name)].filter(
    (n, i, all) => all.indexOf(n) === i && !machine.spec.networks.some((m) => m.network === n),
  );
  const [network, setNetwork] = useState("");
  const [aliases, setAliases] = useState("");
  const chosen = network || others[0] || "";
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title="Join a network"
      action="Join"
      whyNot={chosen ? null : "There is no other network"}
      submit={async () => {
        const body = { network: chosen, aliases: aliases.split(/[\s,]+/).filter(Boolean) };
        putMachine(cache, await client.joinNetwork({ params: { machine: machine.id }, body }));
      }}
    >
      <ChoiceField
        label="Network"
        value={chosen}
        options={others.map((n) => [n, n] as const)}
        onChange={(e) => setNetwork(e.target.value)}
      />
      <Field label="Other names for it there" hint="Words, with spaces between them. Machines may share one.">
        <input value={aliases} onChange={(e) => setAliases(e.target.value)} placeholder="db postgres" className="mono" />
      </Field>
    </FormDialog>
  );
}

function Mount({ onOpenChange }: Asked) {
  const machine = useCurrent();
  const cache = useQueryClient();
  const { data = [] } = useQuery(queries.volumes);
  const free = data.filter((v) => !machine.spec.mounts.some((m) => m.volume === v.name));
  const [volume, setVolume] = useState("");
  const [path, setPath] = useState("");
  const [readonly, setReadonly] = useState(false);
  const chosen = volume || free[0]?.name || "";
  return (
    <FormDialog
      open
      onOpenChange={onOpenChange}
      title={`Mount a volume in ${machine.name}`}
      action="Mount"
      whyNot={chosen ? null : "There is no volume that it does not have: make one first"}
      submit={async () => {
        putMachine(cache, await client.mountVolume({ params: { machine: machine.id }, body: { volume: chosen, path, readonly } }));
      }}
    >
      <ChoiceField
        label="Volume"
        value={chosen}
        options={free.map((v) => [v.name, v.name] as const)}
        onChange={(e) => setVolume(e.target.value)}
      />
      <Field label="Where in the machine">
        <input required value={path} onChange={(e) => setPath(e.target.value)} placeholder="/data" className="mono" />
      </Field>
      <Check label="Read-only: others may mount it too" checked={readonly} onChange={(e) => setReadonly(e.target.checked)} />
    </FormDialog>
  );
}
