import { existsSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type Command } from "#cli/command.ts";

export const init: Command = {
  name: "init",
  usage: "vps init [NAME]",
  summary: "Write a hyperlane.yaml for this project and check the connection",
  examples: ["vps init", "vps init api-prod"],
  args: [0, 1],
  async run({ client, args, out }) {
    const who = await client().whoami();
    const name =
      args[0] ??
      basename(process.cwd())
        .toLowerCase()
        .replace(/[^a-z0-9-]+/g, "-")
        .replace(/^[^a-z]+|-+$/g, "");
    if (existsSync("hyperlane.yaml")) out.line("hyperlane.yaml is there already.");
    else {
      writeFileSync("hyperlane.yaml", `vm:\n  name: ${name || "my-server"}\n  cpu: 1\n  ram: 512M\n  image: debian:12\n`, { flag: "wx" });
      out.done("Wrote hyperlane.yaml");
    }
    out.done(`Connected as ${who.name} (${who.role})`);
    out.line("→ Next: vps up");
  },
};
