import { DEVICE_KINDS, refOf } from "#contract/resources/device.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";

export const deviceList: Command = {
  name: "device list",
  usage: "vps device list [--all]",
  summary: "List devices of nodes that machines can have, GPUs first, and why some cannot be had",
  examples: ["vps device list", "vps up trainer --gpu pci:0000:01:00.0"],
  args: [0, 0],
  flags: { all: { type: "boolean", short: "a", help: "Those that are no GPU, network or storage as well" }, json: JSON_FLAG },
  async run({ client, out, flags }) {
    const { items } = await client().listDevices();
    const shown = flags.all ? items : items.filter((d) => d.kind !== "other");
    out.data(shown);
    out.table(
      ["DEVICE", "KIND", "ID", "NODE", "GROUP", "DRIVER", "MACHINE", "CAN BE HAD"],
      shown
        .sort((a, b) => DEVICE_KINDS.indexOf(a.kind) - DEVICE_KINDS.indexOf(b.kind))
        .map((d) => [
          refOf(d.address),
          d.kind,
          `${d.vendor}:${d.device}`,
          d.node,
          String(d.group ?? "-"),
          d.driver ?? "-",
          d.machine ?? "-",
          d.unavailable === null ? out.color("green", "yes") : `no: ${d.unavailable}`,
        ]),
    );
  },
};
