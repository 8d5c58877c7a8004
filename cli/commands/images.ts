import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { age } from "./machines.ts";

export const imageList: Command = {
  name: "image list",
  usage: "vps image list",
  summary: "List images",
  examples: ["vps image list"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listImages();
    out.data(items);
    if (!items.length) return out.line("No images yet: the node has not reported any. `vps node list` shows whether it is connected.");
    out.table(
      ["NAME", "STATE", "SIZE", "DIGEST", "AGE"],
      items.map((i) => [
        i.name,
        i.state === "failed" ? `failed: ${i.reason}` : i.state,
        `${Math.round(i.bytes / 2 ** 20)}M`,
        i.digest?.slice(0, 12) ?? "-",
        age(i.createdAt),
      ]),
    );
  },
};

export const imageCreate: Command = {
  name: "image create",
  usage: "vps image create NAME --from MACHINE",
  summary: "Make an image from a machine",
  examples: ["vps image create my-api:v3 --from api-prod"],
  args: [1, 1],
  flags: { from: { type: "string", value: "MACHINE", help: "The machine to make it from" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    if (flags.from === undefined) throw new HyperlaneError("USAGE", "From which machine? Give --from MACHINE.");
    let image = await client().createImage({ body: { name: args[0]!, from: flags.from as string } });
    while (image.state === "creating") {
      await Bun.sleep(200);
      image = (await client().listImages()).items.find((i) => i.id === image.id) ?? image;
    }
    if (image.state === "failed") throw new HyperlaneError("FAILED", `The image could not be made: ${image.reason}`);
    out.done(`Image ${image.name} (${Math.round(image.bytes / 2 ** 20)} MiB)`);
    out.line(`→ Use it: vps up NAME --image ${image.name}`);
    out.data(image);
  },
};

export const imageRm: Command = {
  name: "image rm",
  usage: "vps image rm NAME",
  summary: "Remove an image that no machine uses",
  examples: ["vps image rm my-api:v3"],
  args: [1, 1],
  complete: "image",
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const image = await client().removeImage({ params: { image: args[0]! } });
    out.done(`Image ${image.name} is removed`);
    out.data(image);
  },
};
