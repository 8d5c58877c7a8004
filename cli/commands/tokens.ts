import { JSON_FLAG, type Command } from "#cli/command.ts";
import { age } from "./machines.ts";

export const tokenList: Command = {
  name: "token list",
  usage: "vps token list",
  summary: "List API tokens; their secrets are not kept",
  examples: ["vps token list"],
  args: [0, 0],
  flags: { json: JSON_FLAG },
  async run({ client, out }) {
    const { items } = await client().listTokens();
    out.data(items);
    out.table(
      ["NAME", "ROLE", "AGE"],
      items.map((t) => [t.name, t.role, age(t.createdAt)]),
    );
  },
};

export const tokenCreate: Command = {
  name: "token create",
  usage: "vps token create NAME [--role ROLE]",
  summary: "Make an API token; its secret is shown once",
  examples: [
    "vps token create grafana",
    "vps token create ci --role admin",
    "HYPERLANE_TOKEN=$(vps token create ci --role admin --json | jq -r .secret)",
  ],
  args: [1, 1],
  flags: { role: { type: "string", value: "ROLE", help: "viewer reads; admin does everything (viewer)" }, json: JSON_FLAG },
  async run({ client, args, flags, out }) {
    const token = await client().createToken({
      body: { name: args[0]!, ...(flags.role !== undefined && { role: flags.role as "viewer" }) },
    });
    out.data(token);
    out.line(token.secret);
    out.note(`Token ${token.name} (${token.role}). It is shown this once; whoever uses it sets HYPERLANE_TOKEN.`);
  },
};

export const tokenRm: Command = {
  name: "token rm",
  usage: "vps token rm NAME",
  summary: "Revoke an API token at once",
  examples: ["vps token rm ci"],
  args: [1, 1],
  flags: { json: JSON_FLAG },
  async run({ client, args, out }) {
    const token = await client().removeToken({ params: { token: args[0]! } });
    out.done(`Token ${token.name} is revoked`);
    out.data(token);
  },
};
