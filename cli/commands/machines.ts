/** Looking at machines, and the verbs that only change their power. */
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import type { Machine } from "#contract/resources/machine.ts";
import type { MachineState } from "#contract/resources/states.ts";
import { countOf, mibOf } from "#cli/amounts.ts";
import { ifThere, JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { waitFor } from "#cli/wait.ts";

const COLORS: Record<MachineState, Parameters<Context["out"]["color"]>[0]> = {
  requested: "yellow",
  provisioning: "yellow",
  running: "green",
  paused: "cyan",
  standby: "cyan",
  stopped: "dim",
  failed: "red",
  destroyed: "dim",
};

export const list: Command = {
  name: "list",
  usage: "vps list",
  summary: "List machines",
  examples: ["vps list", "vps list --state failed", "vps list --label team=core --json"],
  args: [0, 0],
  flags: {
    label: { type: "string", short: "l", value: "K[=V]", help: "Only with this label" },
    state: { type: "string", value: "STATE", help: "Only in this state" },
    quiet: { type: "boolean", short: "q", help: "Only names" },
    json: JSON_FLAG,
  },
  async run({ client, flags, out }) {
    const items: Machine[] = [];
    let after: string | undefined;
    do {
      const page = await client().listMachines({
        query: { limit: 1000, after, label: flags.label as string | undefined, state: flags.state as string | undefined },
      });
      items.push(...page.items);
      after = page.next ?? undefined;
    } while (after !== undefined);
    out.data(items);
    if (flags.quiet) return items.forEach((m) => out.line(m.name));
    if (!items.length) return out.line("No machines. Make one: vps up api-prod");
    out.table(
      ["NAME", "STATE", "CPU", "RAM", "IMAGE", "ADDRESS", "AGE"],
      items.map((m) => [
        m.name,
        out.color(COLORS[m.state], m.destroying ? "destroying" : m.state),
        String(m.spec.cpu),
        formatMib(m.spec.memoryMib),
        m.spec.image,
        m.observed?.address6 ?? "-",
        age(m.createdAt),
      ]),
    );
  },
};

export const show: Command = {
  name: "show",
  usage: "vps show NAME",
  summary: "Everything about one machine, and why it is as it is",
  examples: ["vps show api-prod", "vps show api-prod --json"],
  args: [1, 1],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const m = await client().getMachine({ params: { machine: args[0]! } });
    out.data(m);
    if (out.json) return;
    // A machine that is too busy to say how it is can still be shown.
    const used =
      m.state === "running" && !m.spec.kernel
        ? await client()
            .machineStats({ params: { machine: m.id } })
            .catch(() => undefined)
        : undefined;
    const rows: [string, string | null | undefined][] = [
      ["Name", m.name],
      ["Id", m.id],
      ["State", out.color(COLORS[m.state], m.state)],
      ["Reason", m.reason],
      [m.spec.kernel ? "Disk of" : "Image", m.spec.image],
      ["Kernel", m.spec.kernel && [m.spec.kernel.path, m.spec.kernel.initramfs].filter((p) => p !== null).join(", ")],
      ["CPU", String(m.spec.cpu)],
      ["RAM", formatMib(m.spec.memoryMib)],
      ["Disk", formatMib(m.spec.diskMib)],
      [
        "Used",
        used &&
          `RAM ${formatMib(used.memoryMib - used.memoryFreeMib)}, disk ${formatMib(Math.max(1, used.diskMib - used.diskFreeMib))}, load ${used.load1.toFixed(2)}, up ${duration(used.uptimeS)}`,
      ],
      ["Node", m.node],
      ["IPv6", m.observed?.address6],
      ["IPv4", m.observed?.address4],
      ["Runs on", m.observed?.accelerator === "tcg" ? "software emulation (`vps doctor` says why)" : m.observed?.accelerator],
      [
        "Exposed",
        m.exposures.map((e) => `${e.hostIp === null ? "" : `${e.hostIp}:`}${e.hostPort} -> ${e.port}/${e.protocol}`).join(", ") || null,
      ],
      ["Volumes", m.spec.mounts.map((x) => `${x.volume ?? x.folder} at ${x.path}${x.readonly ? ", to read only" : ""}`).join("; ") || null],
      [
        "Waiting",
        Object.values(m.observed?.volumes ?? {})
          .flatMap((v) => v.reason ?? [])
          .join("; ") || null,
      ],
      ["Networks", m.spec.networks.map((x) => [x.network, ...x.aliases.map((a) => `as ${a}`)].join(" ")).join(", ") || "none"],
      [
        "Labels",
        Object.entries(m.labels)
          .map(([k, v]) => `${k}=${v}`)
          .join(", ") || null,
      ],
      ["Sleeps", m.spec.hold ? "held awake" : m.spec.idleS === null ? null : `after ${duration(m.spec.idleS)} with nothing to do`],
      ["Started", m.observed?.steps.map((s) => `${s.name} ${s.ms} ms`).join(", ") || null],
      ["Created", `${age(m.createdAt)} ago`],
    ];
    for (const [k, v] of rows) if (v) out.line(`${k.padEnd(9)}${v}`);
    if (m.state === "running") out.line(wayIn(m));
    if (m.state === "failed") out.line(`→ Look: vps logs ${m.name}   Try again: vps start ${m.name}`);
  },
};

/** What one does with it next. */
export function wayIn({ name, spec }: Machine): string {
  return spec.kernel ? `→ Console: vps logs -f ${name}` : `→ SSH: vps ssh ${name}`;
}

type PowerVerb = {
  verb: string;
  operation: "startMachine" | "stopMachine" | "restartMachine" | "pauseMachine" | "resumeMachine";
  until: MachineState;
  summary: string;
};

function power({ verb, operation, until, summary }: PowerVerb): Command {
  return {
    name: verb,
    usage: `vps ${verb} NAME`,
    summary,
    examples: [`vps ${verb} api-prod`, `vps ${verb} api-prod --no-wait`],
    args: [1, 1],
    complete: "machine",
    flags: { "no-wait": { type: "boolean", help: "Return once the request is recorded" }, json: JSON_FLAG },
    async run({ client, args, flags, out }) {
      let m = await client()[operation]({ params: { machine: args[0]! } });
      if (!flags["no-wait"])
        m = await waitFor(
          client(),
          m.id,
          out,
          (x) => (x.state === until || (until === "running" && hasEnded(x))) && x.observed?.epoch === x.epoch,
        );
      out.done(flags["no-wait"] ? `Asked ${m.name} to ${verb}` : `${m.name} is ${m.state}`);
      out.data(m);
    },
  };
}

/** Its workload was done before anybody looked. */
function hasEnded(m: Machine): boolean {
  return m.state === "stopped" && m.power !== "stopped" && m.observed?.phase === "exited";
}

export const powerCommands: Command[] = [
  power({ verb: "start", operation: "startMachine", until: "running", summary: "Start a machine; also the retry of a failed one" }),
  power({ verb: "stop", operation: "stopMachine", until: "stopped", summary: "Shut a machine down" }),
  power({ verb: "restart", operation: "restartMachine", until: "running", summary: "Stop a machine, then start it" }),
  power({ verb: "pause", operation: "pauseMachine", until: "paused", summary: "Freeze a machine where it stands" }),
  power({ verb: "resume", operation: "resumeMachine", until: "running", summary: "Let a paused machine go on" }),
];

export const scale: Command = {
  name: "scale",
  usage: "vps scale NAME [--cpu N] [--ram SIZE]",
  summary: "Change CPU and RAM; says when that needs a restart",
  examples: ["vps scale api-prod --cpu 4 --ram 8G", "vps scale api-prod --ram 2G --restart"],
  args: [1, 1],
  complete: "machine",
  flags: {
    cpu: { type: "string", value: "N", help: "Virtual CPUs" },
    ram: { type: "string", value: "SIZE", help: "Memory, like 8G" },
    restart: { type: "boolean", help: "Restart it now where the change needs that" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const [cpu, memoryMib] = [countOf("cpu", flags.cpu as string | undefined), mibOf("ram", flags.ram as string | undefined)];
    if (cpu === undefined && memoryMib === undefined) throw new HyperlaneError("USAGE", "What to change? Give --cpu, --ram or both.");
    const m = await client().updateMachine({
      params: { machine: args[0]! },
      body: {
        ...(cpu !== undefined && { cpu }),
        ...(memoryMib !== undefined && { memoryMib }),
        restart: flags.restart === true,
      },
    });
    if (flags.restart) await waitFor(client(), m.id, out, (x) => x.state === "running" && x.observed?.epoch === x.epoch);
    out.done(`${m.name}: ${m.spec.cpu} CPU, ${formatMib(m.spec.memoryMib)} RAM`);
    if (m.needsRestart) out.note(`It takes effect at the next start: vps restart ${m.name} (or --restart next time)`);
    out.data(m);
  },
};

export const destroy: Command = {
  name: "destroy",
  usage: "vps destroy NAME",
  summary: "Destroy a machine, its disk and its snapshots",
  examples: ["vps destroy api-prod", "vps destroy api-prod --yes"],
  args: [1, 1],
  complete: "machine",
  flags: {
    yes: { type: "boolean", short: "y", help: "Do not ask" },
    "if-exists": { type: "boolean", help: "No error when there is no such machine" },
    "no-wait": { type: "boolean", help: "Return once the request is recorded" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const name = args[0]!;
    const asked = client().getMachine({ params: { machine: name } });
    const m = await (flags["if-exists"] ? ifThere(asked) : asked);
    if (!m) return;
    if (!flags.yes) {
      if (!process.stdin.isTTY || !out.tty)
        throw new HyperlaneError("USAGE", `"${name}", its disk and its snapshots would be gone for good.`, { hint: "Say so with --yes." });
      const answer = prompt(`This destroys "${name}", its disk and its snapshots for good. Type its name to go on:`);
      if (answer !== m.name) throw new HyperlaneError("USAGE", "Not destroyed: the name did not match.", { hint: "Nothing was changed." });
    }
    await client().destroyMachine({ params: { machine: m.id } });
    if (!flags["no-wait"]) await ifThere(waitFor(client(), m.id, out, () => false));
    out.done(`${m.name} is ${flags["no-wait"] ? "being " : ""}destroyed`);
    out.data({ id: m.id, name: m.name, state: flags["no-wait"] ? m.state : "destroyed", destroying: true });
  },
};

export function age(at: number): string {
  return duration((Date.now() - at) / 1000);
}

function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  return s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m` : s < 86400 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
}
