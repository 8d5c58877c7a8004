/** Images as one file: read and written through the control plane's own registry. */
import { createWriteStream, existsSync, renameSync, rmSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { readContext } from "#cli/config.ts";

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
