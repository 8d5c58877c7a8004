import { HyperlaneError } from "#contract/errors.ts";
import type { Image } from "#contract/resources/image.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { inspecting, pruning, removing } from "#cli/resource.ts";
import { formatBytes, transferImage } from "#cli/transfer.ts";
import { age } from "./machines.ts";

const INSECURE = { type: "boolean", help: "Allow a registry without TLS" } as const;

export const imageList: Command = {
  name: "image list",
  usage: "vps image list",
  summary: "List images",
  examples: ["vps image list"],
  args: [0, 0],
  flags: { quiet: { type: "boolean", short: "q", help: "Only names" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    const { items } = await client().listImages();
    out.data(items);
    if (flags.quiet) return items.forEach((i) => out.line(i.name));
    if (!items.length) return out.line("No images. Bring one in: vps image pull nginx");
    out.table(
      ["NAME", "STATE", "SIZE", "DIGEST", "AGE"],
      items.map((i) => [
        i.name,
        i.state === "failed" ? `failed: ${i.reason}` : i.state,
        formatBytes(i.bytes),
        i.digest?.slice(7, 19) ?? "-",
        age(i.createdAt),
      ]),
    );
  },
};

export const imagePull: Command = {
  name: "image pull",
  usage: "vps image pull IMAGE",
  summary: "Bring an image in from a registry",
  examples: ["vps image pull nginx", "vps image pull ghcr.io/owner/app:v1", "vps image pull --insecure registry.local:5000/app"],
  args: [1, 1],
  flags: {
    platform: { type: "string", value: "OS/ARCH", help: "Which of its platforms (linux/amd64)" },
    insecure: INSECURE,
    json: JSON_FLAG,
  },
  async run({ client, args, flags, out }) {
    const query = { image: args[0]!, platform: flags.platform as string | undefined, insecure: flags.insecure === true };
    const image = await transferImage(client(), out, "pullImage", query);
    out.done(`${image.name} (${formatBytes(image.bytes)}, ${image.digest})`);
    out.data(image);
  },
};

export const imagePush: Command = {
  name: "image push",
  usage: "vps image push IMAGE",
  summary: "Send an image to the registry in its name",
  examples: ["vps image tag app:v1 ghcr.io/owner/app:v1", "vps image push ghcr.io/owner/app:v1"],
  args: [1, 1],
  complete: "image",
  flags: { insecure: INSECURE, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    const image = await transferImage(client(), out, "pushImage", { image: args[0]!, insecure: flags.insecure === true });
    out.done(`${image.name} is pushed (${formatBytes(image.bytes)}, ${image.digest})`);
    out.data(image);
  },
};

export const imageCreate: Command = {
  name: "image create",
  usage: "vps image create NAME --from MACHINE",
  summary: "Make an image from a machine",
  examples: ["vps image create my-api:v3 --from api-prod"],
  args: [1, 1],
  flags: { from: { type: "string", value: "MACHINE", help: "The machine to make it from" }, json: JSON_FLAG },
  async run(ctx) {
    if (ctx.flags.from === undefined) throw new HyperlaneError("USAGE", "From which machine? Give --from MACHINE.");
    const image = await create(ctx, ctx.args[0]!, ctx.flags.from as string);
    ctx.out.done(`Image ${image.name} (${formatBytes(image.bytes)})`);
    ctx.out.line(`→ Use it: vps up NAME --image ${image.name}`);
    ctx.out.data(image);
  },
};

export const commit: Command = {
  name: "commit",
  usage: "vps commit MACHINE IMAGE",
  summary: "Make an image from a machine, as docker commit does",
  examples: ["vps commit web web:patched"],
  args: [2, 2],
  complete: "machine",
  flags: { json: JSON_FLAG },
  async run(ctx) {
    const image = await create(ctx, ctx.args[1]!, ctx.args[0]!);
    ctx.out.line(image.digest ?? "");
    ctx.out.data(image);
  },
};

async function create({ client, out }: Context, name: string, from: string): Promise<Image> {
  let image = await client().createImage({ body: { name, from } });
  while (image.state === "creating") {
    out.progress(`Reading what ${from} holds`);
    await Bun.sleep(100);
    image = (await client().listImages()).items.find((i) => i.id === image.id) ?? image;
  }
  out.progress(null);
  if (image.state === "failed") throw new HyperlaneError("FAILED", `The image could not be made: ${image.reason}`);
  return image;
}

export const imageTag: Command = {
  name: "image tag",
  usage: "vps image tag IMAGE NAME",
  summary: "Give an image another name",
  examples: ["vps image tag app:v1 app:latest"],
  args: [2, 2],
  complete: "image",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const image = await client().tagImage({ params: { image: args[0]! }, body: { name: args[1]! } });
    out.done(`${image.name} is ${image.digest}`);
    out.data(image);
  },
};

export const imageRm = removing(
  "image",
  "my-api:v3",
  "images that no machine uses",
  (client, image) => client.removeImage({ params: { image } }),
  (gone) => gone.name,
);

export const imagePrune = pruning(
  "image",
  "image that no machine uses",
  (client) => client.pruneImages({ body: {} }),
  (done) => `${formatBytes(done.freedBytes)} freed`,
);

export const imageInspect = inspecting("image", "debian:12", (client, image) => client.getImage({ params: { image } }));

export const imageHistory: Command = {
  name: "image history",
  usage: "vps image history NAME",
  summary: "The steps that an image was made in, newest first",
  examples: ["vps image history nginx"],
  args: [1, 1],
  complete: "image",
  flags: { "no-trunc": { type: "boolean", help: "Do not shorten" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    const { history } = await client().getImage({ params: { image: args[0]! } });
    out.data(history);
    const cut = (text: string): string => (flags["no-trunc"] || text.length <= 60 ? text : `${text.slice(0, 59)}…`);
    out.table(
      ["CREATED", "SIZE", "CREATED BY"],
      history.toReversed().map((h) => [h.created ? `${age(Date.parse(h.created))} ago` : "-", formatBytes(h.bytes), cut(h.by)]),
    );
  },
};
