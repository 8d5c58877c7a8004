import { existsSync, readFileSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import type { Machine, MachineSpec, Source } from "#contract/resources/machine.ts";
import { countOf, mibOf } from "#cli/amounts.ts";
import { ifThere, JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { ensureVolumes, MOUNT_FLAGS, placing } from "#cli/mounts.ts";
import { waitFor } from "#cli/wait.ts";
import { wayIn } from "./machines.ts";
import { idleSeconds } from "./standby.ts";

/** They go on side by side, and are told in this order. */
const STEPS = { image: "Image ready", network: "Network attached" };

export const up: Command = {
  name: "up",
  usage: "vps up [NAME]",
  summary: "Create a machine, or bring it to what you ask for, and wait until it runs",
  examples: [
    "vps up api-prod",
    "vps up api-prod --cpu 4 --ram 8G",
    "vps up                      # what hyperlane.yaml here says",
    "vps up db -v data:/var/lib/data --network back",
    "vps up api-test --from-snapshot api-prod/before-upgrade",
    "vps up own --kernel /srv/vmlinux --image /srv/rootfs.ext4   # files of its node",
    "vps up worker --image my-api:v3 --env MODE=batch --label team=core",
  ],
  args: [0, 1],
  complete: "machine",
  flags: {
    cpu: { type: "string", value: "N", help: "Virtual CPUs (1)" },
    ram: { type: "string", value: "SIZE", help: "Memory, like 512M or 8G (512M)" },
    disk: { type: "string", value: "SIZE", help: "Size of its writable disk (10G)" },
    image: { type: "string", value: "IMAGE", help: "Image to start from (debian:12); with --kernel, a disk of its node" },
    kernel: { type: "string", value: "FILE", help: "Boot this kernel of its node in place of ours, with a copy of that disk" },
    initramfs: { type: "string", value: "FILE", help: "And this initramfs" },
    "kernel-args": { type: "string", value: "ARGS", help: "And tell it this" },
    "from-snapshot": {
      type: "string",
      value: "NAME/SNAP",
      help: "Begin with a copy of that disk, and that machine's image and sizes",
    },
    env: { type: "string", multiple: true, short: "e", value: "K=V", help: "An environment variable; may be given again" },
    label: { type: "string", multiple: true, short: "l", value: "K=V", help: "A label; may be given again" },
    idle: { type: "string", value: "TIME", help: "To standby after so long with nothing to do, like 10m; or never (the default)" },
    ...MOUNT_FLAGS,
    "no-wait": { type: "boolean", help: "Return once the request is recorded" },
    wait: { type: "boolean", help: "Wait until it runs (the default)" },
    timings: { type: "boolean", help: "Show where the time went" },
    json: JSON_FLAG,
  },
  async run(ctx) {
    const from = performance.now();
    const file = readProjectFile();
    const name = ctx.args[0] ?? file?.name;
    if (name === undefined)
      throw new HyperlaneError("USAGE", "Which machine? Give a NAME, or a hyperlane.yaml with vm.name.", {
        hint: "Try `vps up api-prod`, or `vps init` to write a hyperlane.yaml.",
      });
    const client = ctx.client();
    const asked = spec(ctx, file);
    const labels = pairs(ctx.flags.label, "--label");
    const there = await ifThere(client.getMachine({ params: { machine: name } }));
    let machine: Machine;
    const place = placing(ctx.flags);
    const source = sourceOf(ctx.flags);
    const kernel = kernelOf(ctx.flags);
    if (!there) {
      await ensureVolumes(client, ctx.out, place.mounts || []);
      const like = source && likeSource((await client.getMachine({ params: { machine: source.machine } })).spec);
      machine = await client.createMachine({
        body: { name, labels: labels ?? {}, source, spec: { ...like, ...asked, ...place, ...kernel } },
      });
    } else {
      if (source)
        throw new HyperlaneError("CONFLICT", `"${name}" is there already, so it cannot begin with a copy.`, {
          hint: `Choose another name; or go back to a snapshot of its own: vps snapshot restore ${name} SNAPSHOT`,
        });
      if (kernel && JSON.stringify(kernel.kernel) !== JSON.stringify(there.spec.kernel))
        throw new HyperlaneError("STATE", `What "${name}" boots it has for life.`, {
          hint: "Destroy the machine and create it anew with another --kernel.",
        });
      if (Object.keys(place).length)
        throw new HyperlaneError("STATE", `"${name}" is there already, and this command leaves its volumes and networks as they are.`, {
          hint: "`vps volume attach` and `vps network connect` change them.",
        });
      if (asked.diskMib !== undefined && asked.diskMib !== there.spec.diskMib)
        throw new HyperlaneError("STATE", `The disk of "${name}" has its size for life.`, {
          hint: "Destroy the machine and create it anew with another --disk.",
        });
      const { diskMib: _, image, ...rest } = asked;
      const change = { ...rest, ...(image !== undefined && image !== there.spec.image && { image }) };
      const changed = await client.updateMachine({ params: { machine: name }, body: { ...change, ...(labels && { labels }) } });
      if (changed.needsRestart) ctx.out.note(`The change takes effect at the next start: vps restart ${name}`);
      machine = changed;
      if (
        there.state === "running" &&
        there.power === "running" &&
        changed.revision === there.revision &&
        there.observed?.epoch === there.epoch
      ) {
        ctx.out.done(`${name} is running already`);
        ctx.out.line(wayIn(machine));
        return ctx.out.data(machine);
      }
      if (there.state !== "running" || there.power !== "running") machine = await client.startMachine({ params: { machine: name } });
    }
    const askedMs = performance.now() - from;
    if (ctx.flags["no-wait"]) {
      ctx.out.line(`${name} is ${machine.state}`);
      return ctx.out.data(machine);
    }
    const shown = new Set<string>();
    machine = await waitFor(client, machine.id, ctx.out, (m) => {
      const current = m.observed?.epoch === m.epoch ? m.observed.steps : [];
      for (const [step, text] of Object.entries(STEPS)) {
        if (!current.some((s) => s.name === step)) break;
        if (!shown.has(step)) ctx.out.done(text);
        shown.add(step);
      }
      return m.state === "running" && m.observed?.epoch === m.epoch;
    });
    const totalMs = performance.now() - from;
    ctx.out.done(`VM started (${(totalMs / 1000).toFixed(1)}s)`);
    if (ctx.flags.timings) for (const line of timings(machine, askedMs, totalMs)) ctx.out.line(line);
    ctx.out.line(wayIn(machine));
    ctx.out.data(machine);
  },
};

function kernelOf(flags: Context["flags"]): Pick<MachineSpec, "kernel"> | undefined {
  const [path, initramfs, args] = ["kernel", "initramfs", "kernel-args"].map((flag) => flags[flag] as string | undefined);
  if (path !== undefined) return { kernel: { path, initramfs: initramfs ?? null, args: args ?? null } };
  if (initramfs === undefined && args === undefined) return undefined;
  throw new HyperlaneError("USAGE", "--initramfs and --kernel-args are for a --kernel, and none is named.");
}

/** Where the milliseconds went. Image, disk and network are got ready side by side. */
function timings({ observed }: Machine, askedMs: number, totalMs: number): string[] {
  const steps = observed?.steps ?? [];
  const ms = (name: string): number => steps.find((s) => s.name === name)?.ms ?? 0;
  const elsewhere = totalMs - askedMs - Math.max(ms("image"), ms("disk"), ms("network")) - ms("start") - ms("ready");
  const how = { boot: "it booted", template: "from a template", spare: "a spare that waited", memory: "from its saved memory" };
  const rows: [string, number, string][] = [
    ["asked", askedMs, "the request, until it was recorded"],
    ["image", ms("image"), "side by side with disk and network"],
    ["disk", ms("disk"), ""],
    ["network", ms("network"), ""],
    ["start", ms("start"), observed?.origin ? `the VMM; ${how[observed.origin]}` : "the VMM"],
    ["ready", ms("ready"), "the guest, until it is up"],
    ["elsewhere", Math.max(0, elsewhere), "placing it, telling its node, hearing of it"],
    ["total", totalMs, ""],
  ];
  return rows.map(([name, value, what]) => `  ${name.padEnd(10)}${value.toFixed(1).padStart(8)} ms${what ? `  ${what}` : ""}`);
}

type ProjectFile = { name?: string; cpu?: number; ram?: string | number; disk?: string | number; image?: string };

function readProjectFile(): ProjectFile | undefined {
  const path = ["hyperlane.yaml", "hyperlane.yml"].find((p) => existsSync(p));
  if (path === undefined) return undefined;
  let parsed: unknown;
  try {
    parsed = Bun.YAML.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new HyperlaneError("INVALID", `${path} is not YAML: ${(cause as Error).message}`, { cause });
  }
  const vm = (parsed as { vm?: unknown } | null)?.vm;
  if (typeof vm !== "object" || vm === null)
    throw new HyperlaneError("INVALID", `${path} has no "vm:" section.`, {
      field: "vm",
      hint: "It looks like: vm: {name: api-prod, cpu: 2, ram: 2G}",
    });
  const known = ["name", "cpu", "ram", "disk", "image"];
  for (const key of Object.keys(vm))
    if (!known.includes(key))
      throw new HyperlaneError("INVALID", `vm.${key} in ${path} is not a field here.`, {
        field: `vm.${key}`,
        hint: `There is: ${known.join(", ")}.`,
      });
  return vm as ProjectFile;
}

function sourceOf(flags: Context["flags"]): Source | null {
  const text = flags["from-snapshot"] as string | undefined;
  if (text === undefined) return null;
  const [machine, snapshot, ...rest] = text.split("/");
  if (!machine || !snapshot || rest.length)
    throw new HyperlaneError("INVALID", `--from-snapshot must be MACHINE/SNAPSHOT, not "${text}".`, {
      field: "from-snapshot",
      hint: "`vps snapshot list MACHINE` shows what there is.",
    });
  for (const other of ["image", "disk"])
    if (flags[other] !== undefined)
      throw new HyperlaneError("USAGE", `--from-snapshot and --${other} exclude each other.`, { hint: "The copy has its own." });
  return { machine, snapshot };
}

/** Its volumes, its addresses and its host name stay its own. */
function likeSource({ mounts: _, hostname: __, autoRemove: ___, ...spec }: MachineSpec) {
  return spec;
}

function spec({ flags }: Context, file: ProjectFile | undefined) {
  const text = (name: string, fallback: unknown): string | undefined =>
    (flags[name] as string | undefined) ?? (fallback === undefined ? undefined : String(fallback));
  const cpu = countOf("cpu", text("cpu", file?.cpu));
  const memoryMib = mibOf("ram", text("ram", file?.ram));
  const diskMib = mibOf("disk", text("disk", file?.disk));
  const image = text("image", file?.image);
  const env = pairs(flags.env, "--env");
  return {
    ...(cpu !== undefined && { cpu }),
    ...(memoryMib !== undefined && { memoryMib }),
    ...(diskMib !== undefined && { diskMib }),
    ...(image !== undefined && { image }),
    ...(env && { env }),
    ...(flags.idle !== undefined && { idleS: idleSeconds(flags.idle as string) }),
  };
}

function pairs(value: Context["flags"][string], flag: string): Record<string, string> | undefined {
  if (!Array.isArray(value)) return undefined;
  return Object.fromEntries(
    value.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new HyperlaneError("INVALID", `${flag} must be KEY=VALUE, not "${text}".`, { field: flag.slice(2) });
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}
