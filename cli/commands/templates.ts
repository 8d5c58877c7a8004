import { formatMib } from "#contract/size.ts";
import { countOf, mibOf } from "#cli/amounts.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { pruning, removing } from "#cli/resource.ts";
import { age } from "./machines.ts";

const KEY_SHOWN = 12;

export const templateBuild: Command = {
  name: "template build",
  usage: "vps template build IMAGE",
  summary: "Make the template of an image now, so that its first machine starts as fast as those after it",
  examples: ["vps template build debian:12", "vps template build debian:12 --cpu 2 --ram 2G --disk 40G"],
  args: [1, 1],
  complete: "image",
  flags: {
    cpu: { type: "string", value: "N", help: "Of machines with so many virtual CPUs (1)" },
    ram: { type: "string", value: "SIZE", help: "Of machines with so much memory (512M)" },
    disk: { type: "string", value: "SIZE", help: "Of machines with so large a disk (10G)" },
    node: { type: "string", value: "NODE", help: "Only there (on every node)" },
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const [cpu, ram, disk] = ["cpu", "ram", "disk"].map((name) => flags[name] as string | undefined);
    const shape = { cpu: countOf("cpu", cpu), memoryMib: mibOf("ram", ram), diskMib: mibOf("disk", disk) };
    out.progress(`Making the template of ${args[0]}`);
    const built = await client()
      .buildTemplate({
        body: { image: args[0]!, ...shape, ...(flags.node !== undefined && { node: flags.node as string }) },
      })
      .finally(() => out.progress(null));
    for (const t of built.items)
      out.done(`Template ${t.key.slice(0, KEY_SHOWN)} on ${t.node}: ${of(t)}, ${t.cpu} CPU, ${formatMib(t.memoryMib)} RAM`);
    out.data(built.items);
  },
};

export const templateList: Command = {
  name: "template list",
  usage: "vps template list",
  summary: "List templates: what machines go on from instead of booting",
  examples: ["vps template list"],
  args: [0, 0],
  flags: { quiet: { type: "boolean", short: "q", help: "Only ids" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    const { items } = await client().listTemplates();
    out.data(items);
    if (flags.quiet) return items.forEach((t) => out.line(t.key.slice(0, KEY_SHOWN)));
    if (!items.length) return out.line("No templates yet. They are made when machines start, or by: vps template build debian:12");
    out.table(
      ["TEMPLATE", "OF", "CPU", "RAM", "DISK", "SIZE", "STATE", "SPARES", "AGE", "NODE"],
      items.map((t) => [
        t.key.slice(0, KEY_SHOWN),
        of(t),
        String(t.cpu),
        formatMib(t.memoryMib),
        t.diskMib === null ? "-" : formatMib(t.diskMib),
        t.bytes ? formatMib(Math.max(1, Math.round(t.bytes / 2 ** 20))) : "-",
        t.state + (t.reason === null ? "" : `: ${t.reason}`),
        t.spares ? String(t.spares) : "-",
        t.createdAt ? age(t.createdAt) : "-",
        t.node,
      ]),
    );
  },
};

export const templateRm = removing(
  "template",
  "3c433ac52b27",
  "templates; machines made from them go on",
  (client, template) => client.removeTemplate({ params: { template } }),
  ({ key }) => key.slice(0, KEY_SHOWN),
);

export const templatePrune = pruning(
  "template",
  "template",
  (client) => client.pruneTemplates({ body: {} }),
  ({ freedBytes }) => (freedBytes ? `Freed ${formatMib(Math.max(1, Math.round(freedBytes / 2 ** 20)))}` : null),
);

/** A template of no image serves all that have no init of their own. */
function of({ image, rootfs }: { image: string | null; rootfs: string | null }): string {
  return rootfs === null ? "any image" : (image ?? "an image that is gone");
}
