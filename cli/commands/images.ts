import { createWriteStream, existsSync, rmSync, renameSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { HyperlaneError } from "#contract/errors.ts";
import type { Image } from "#contract/resources/image.ts";
import { JSON_FLAG, type Command, type Context } from "#cli/command.ts";
import { readContext } from "#cli/config.ts";
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

export const imageRm: Command = {
  name: "image rm",
  usage: "vps image rm NAME...",
  summary: "Remove images that no machine uses",
  examples: ["vps image rm my-api:v3"],
  args: [1, 100],
  complete: "image",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const gone: Image[] = [];
    for (const name of args) {
      gone.push(await client().removeImage({ params: { image: name } }));
      out.done(`Image ${gone.at(-1)!.name} is removed`);
    }
    out.data(gone.length === 1 ? gone[0] : gone);
  },
};

export const imagePrune: Command = {
  name: "image prune",
  usage: "vps image prune",
  summary: "Remove every image that no machine uses",
  examples: ["vps image prune --yes"],
  args: [0, 0],
  flags: { yes: { type: "boolean", short: "y", help: "Do not ask" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    if (!flags.yes)
      throw new HyperlaneError("USAGE", "This removes every image that no machine uses.", {
        hint: "If that is what you want: vps image prune --yes",
      });
    const done = await client().pruneImages({ body: {} });
    for (const name of done.removed) out.done(`Image ${name} is removed`);
    out.line(`${formatBytes(done.freedBytes)} freed`);
    out.data(done);
  },
};

export const imageInspect: Command = {
  name: "image inspect",
  usage: "vps image inspect NAME",
  summary: "Everything about an image, as JSON",
  examples: ["vps image inspect nginx"],
  args: [1, 1],
  complete: "image",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const image = await client().getImage({ params: { image: args[0]! } });
    out.raw(Buffer.from(`${JSON.stringify(image, null, 2)}\n`));
  },
};

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

/** The control plane's own registry, which archives go through. */
async function registry() {
  const { url, token } = readContext();
  const { createRegistry } = await import("#oci/client.ts");
  return createRegistry({ base: url, credentials: { username: "vps", password: token }, push: true });
}

function input(file: string | undefined): AsyncIterable<Uint8Array> {
  if (file === undefined || file === "-") {
    if (process.stdin.isTTY)
      throw new HyperlaneError("USAGE", "Which file? Give it with -i, or pipe it in.", { hint: "docker save app:v1 | vps image load" });
    return Bun.stdin.stream() as unknown as AsyncIterable<Uint8Array>;
  }
  if (!existsSync(file)) throw new HyperlaneError("NOT_FOUND", `There is no file "${file}".`, { hint: "Check the path." });
  return Bun.file(file).stream() as unknown as AsyncIterable<Uint8Array>;
}

export const imageLoad: Command = {
  name: "image load",
  usage: "vps image load",
  summary: "Take images in from an archive of docker save, skopeo or vps image save",
  examples: ["vps image load -i app.tar", "docker save app:v1 | vps image load", "vps image load -i layout.tar --name app:v1"],
  args: [0, 0],
  flags: {
    input: { type: "string", short: "i", value: "FILE", help: "The archive (stdin)" },
    name: { type: "string", value: "NAME", help: "For an image that has none in the archive" },
    json: JSON_FLAG,
  },
  async run({ flags, out }) {
    const { loadArchive } = await import("#oci/archive.ts");
    const names = await loadArchive(await registry(), input(flags.input as string | undefined), flags.name as string | undefined);
    for (const name of names) out.done(`Image ${name} loaded`);
    out.data(names);
  },
};

export const imageSave: Command = {
  name: "image save",
  usage: "vps image save NAME...",
  summary: "Write images to an archive that docker load, skopeo and vps image load take",
  examples: ["vps image save app:v1 -o app.tar", "vps image save app:v1 | ssh host docker load"],
  args: [1, 100],
  complete: "image",
  flags: { output: { type: "string", short: "o", value: "FILE", help: "The archive (stdout)" } },
  async run({ args, flags, client }) {
    const names = [];
    for (const name of args) names.push((await client().getImage({ params: { image: name } })).name);
    const { saveArchive } = await import("#oci/archive.ts");
    const archive = Readable.from(saveArchive(await registry(), names));
    const file = flags.output as string | undefined;
    if (file === undefined && process.stdout.isTTY)
      throw new HyperlaneError("USAGE", "An archive on a terminal helps nobody.", { hint: `vps image save ${args[0]} -o app.tar` });
    if (file === undefined) return await pipeline(archive, process.stdout, { end: false });
    try {
      await pipeline(archive, createWriteStream(`${file}.part`));
      renameSync(`${file}.part`, file);
    } catch (thrown) {
      rmSync(`${file}.part`, { force: true });
      throw thrown;
    }
  },
};

export const imageImport: Command = {
  name: "image import",
  usage: "vps image import FILE NAME",
  summary: "Make an image of one layer from a root file system's tar archive",
  examples: ["vps image import rootfs.tar.gz base:v1", "docker export box | vps image import - box:v1 --cmd /bin/sh"],
  args: [2, 2],
  flags: { cmd: { type: "string", value: "COMMAND", help: "What it runs, split at spaces" }, json: JSON_FLAG },
  async run({ args, flags, out }) {
    const { importRootfs } = await import("#oci/archive.ts");
    const config = flags.cmd === undefined ? {} : { Cmd: (flags.cmd as string).split(/\s+/).filter(Boolean) };
    const name = await importRootfs(await registry(), input(args[0]), args[1]!, config);
    out.done(`Image ${name} imported`);
    out.data({ name });
  },
};
