/** SSH with the user's own OpenSSH: a tunnel through the API, a certificate of minutes, no key on disk, no host-key prompt. */
import { writeFileSync, mkdirSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import { decodeExit, decodeU32, encodeU32, F } from "#contract/wire/messages.ts";
import type { Command } from "#cli/command.ts";
import { configDir } from "#cli/config.ts";
import { self } from "#cli/program.ts";
import { createKey, serveAgent } from "#cli/ssh-agent.ts";
import type { Stream } from "#sdk/client.ts";
import { createPump } from "./exec.ts";

function runtimeDir(): string {
  return join(process.env.XDG_RUNTIME_DIR || configDir(), "hyperlane-ssh");
}

/** %n is the name as typed; the socket must be below 108 characters. */
function options(program: string[]): string[] {
  const quoted = program.map((p) => (/^[\w./-]+$/.test(p) ? p : `"${p}"`)).join(" ");
  return [
    `ProxyCommand ${quoted} ssh-proxy %n`,
    `IdentityAgent ${join(runtimeDir(), "%n.sock")}`,
    "User root",
    `UserKnownHostsFile ${join(configDir(), "known_hosts")}`,
    "GlobalKnownHostsFile /dev/null",
    "StrictHostKeyChecking yes",
    "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com",
    "PreferredAuthentications publickey",
    "LogLevel ERROR",
  ];
}

export const ssh: Command = {
  name: "ssh",
  usage: "vps ssh NAME [[--] COMMAND...]",
  summary: "Open a shell in a machine, or run a command in it, over SSH",
  examples: [
    "vps ssh api-prod",
    "vps ssh api-prod -- systemctl status",
    "vps ssh api-prod -- -L 8080:localhost:80   # words that begin with - go to ssh",
  ],
  args: [1, 1],
  trailing: true,
  complete: "machine",
  async run({ client, args, rest }) {
    const name = args[0]!;
    // What is wrong with the machine is better said here than by OpenSSH's "connection closed".
    keepHostCa((await client().sshCertificate({ params: { machine: name }, body: { publicKey: createKey().publicLine } })).hostCa);
    const { flags: sshFlags, command } = splitSshWords(rest);
    const argv = [
      "ssh",
      "-F",
      "none",
      ...options(self("vps")).flatMap((o) => ["-o", o.replace(" ", "=")]),
      ...sshFlags,
      "--",
      name,
      ...command,
    ];
    const program = Bun.which("ssh");
    if (!program)
      throw new HyperlaneError("UNSUPPORTED", "OpenSSH's client is not installed.", { hint: "Install it: apt-get install openssh-client" });
    const child = Bun.spawn(argv, { stdio: ["inherit", "inherit", "inherit"] });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
    return await child.exited;
  },
};

/** ssh's flags that take a value (ssh(1), OpenSSH 9.2). */
const VALUE_FLAGS = /^-[46AaCfGgKkMNnqsTtVvXxYy]*[BbcDEeFIiJLlmOopQRSWw]$/;

/** Leading words that are flags of ssh's, with their values; the rest is the command. */
export function splitSshWords(words: string[]): { flags: string[]; command: string[] } {
  let at = 0;
  while (at < words.length && words[at]!.startsWith("-") && words[at] !== "--") at += VALUE_FLAGS.test(words[at]!) ? 2 : 1;
  return { flags: words.slice(0, at), command: words.slice(words[at] === "--" ? at + 1 : at) };
}

/** The CA that vouches for machines, where OpenSSH looks for it. It changes only with the control plane. */
function keepHostCa(hostCa: string): void {
  const line = `@cert-authority * ${hostCa}\n`;
  const path = join(configDir(), "known_hosts");
  if (existsSync(path) && readFileSync(path, "utf8") === line) return;
  mkdirSync(configDir(), { recursive: true, mode: 0o700 });
  writeFileSync(path, line, { mode: 0o600 });
}

export const sshProxy: Command = {
  name: "ssh-proxy",
  usage: "vps ssh-proxy NAME",
  summary: "The tunnel that OpenSSH talks through (a ProxyCommand)",
  examples: ["ssh -o ProxyCommand='vps ssh-proxy %n' api-prod"],
  args: [1, 1],
  complete: "machine",
  async run({ client, args, out }) {
    const name = args[0]!;
    const key = createKey();
    const { certificate, hostCa } = await client().sshCertificate({ params: { machine: name }, body: { publicKey: key.publicLine } });
    keepHostCa(hostCa);
    const agent = await serveAgent(join(runtimeDir(), `${name}.sock`), key, certificate);
    const done = Promise.withResolvers<number>();
    const pump = createPump();
    const stream: Stream = await client().stream(
      "machineTunnel",
      { params: { machine: name }, query: { port: 22 } },
      {
        message(type, payload) {
          if (type === F.STDOUT) {
            out.raw(payload);
            stream?.send(F.CREDIT, encodeU32(payload.length));
          } else if (type === F.CREDIT_BACK) pump.credit(decodeU32(payload));
          else if (type === F.EXIT) {
            const exit = decodeExit(payload);
            if (exit.kind === "errno")
              done.reject(
                new HyperlaneError("FAILED", exit.text, {
                  hint: `\`vps exec ${name} -- systemctl status ssh.socket\` works without the network.`,
                }),
              );
            else done.resolve(0);
          }
        },
        close: (error) => (error ? done.reject(error) : done.resolve(0)),
      },
    );
    pump.start(stream);
    try {
      return await done.promise;
    } finally {
      agent.close();
      stream.close();
    }
  },
};

export const sshConfig: Command = {
  name: "ssh-config",
  usage: "vps ssh-config [NAME]",
  summary: "Print what to put in ~/.ssh/config, so that ssh, scp, sftp and rsync reach machines by name",
  examples: ["vps ssh-config >> ~/.ssh/config", "vps ssh-config api-prod > /tmp/c && scp -F /tmp/c file api-prod:/srv/"],
  args: [0, 1],
  complete: "machine",
  async run({ client, args, out }) {
    const { items } = await client().listMachines({ query: { limit: 1000 } });
    const machines = args[0] === undefined ? items : [await client().getMachine({ params: { machine: args[0] } })];
    if (!machines.length)
      throw new HyperlaneError("NOT_FOUND", "There are no machines to write a configuration for.", { hint: "Make one: vps up api-prod" });
    out.line(`Host ${machines.map((m) => m.name).join(" ")}`);
    for (const option of options(self("vps"))) out.line(`  ${option}`);
  },
};
