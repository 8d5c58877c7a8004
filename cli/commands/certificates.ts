import { JSON_FLAG, type Command } from "#cli/command.ts";

export const certificateList: Command = {
  name: "certificate list",
  usage: "vps certificate list",
  summary: "List what vouches for users, machines and nodes",
  examples: ["vps certificate list", "vps certificate list --json"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listCertificates();
    out.data(items);
    out.table(
      ["NAME", "KIND", "EXPIRES", "FINGERPRINT"],
      items.map((c) => [c.name, c.kind, c.expiresAt === null ? "never" : new Date(c.expiresAt).toISOString().slice(0, 10), c.fingerprint]),
    );
  },
};
