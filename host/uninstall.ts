/** `hyperlane uninstall`: every machine, the network, the services and the state are gone, and nothing is left. */
import { existsSync, rmdirSync, rmSync } from "node:fs";
import { readJson } from "#agent/host/files.ts";
import { removeNetwork } from "#agent/network/apply.ts";
import type { AgentConfig } from "#agent/main.ts";
import { configDir, readContext } from "#cli/config.ts";
import type { Output } from "#cli/render/output.ts";
import { HyperlaneError } from "#contract/errors.ts";
import { createClient, type Client } from "#sdk/client.ts";
import { hasControl, hasMachines } from "./node.ts";
import { logDir, ROLES, stateDir } from "./place.ts";
import { supervisor } from "./supervisor.ts";
import { removeUnits } from "./systemd.ts";

const PATIENCE_MS = 120_000;

export async function uninstall(out: Output, yes: boolean): Promise<number> {
  const agent = readJson(`${stateDir()}/agent.json`) as AgentConfig | undefined;
  if (!agent)
    throw new HyperlaneError("NOT_FOUND", `There is nothing to uninstall in "${stateDir()}".`, {
      hint: "`hyperlane init` would install it.",
    });
  if (!hasControl()) return await leave(out, agent);
  for (const role of ROLES) await supervisor().start(role);
  const client = createClient(readContext());
  const names = await machineNames(client);
  const volumes = (await client.listVolumes()).items.length;
  if (!yes) {
    const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
    const what = `${count(names.length, "machine")} with disks and snapshots, ${count(volumes, "volume")}, all images and the log`;
    if (!process.stdin.isTTY || !out.tty)
      throw new HyperlaneError("USAGE", `${what} would be gone for good.`, { hint: "Say so with --yes." });
    if (prompt(`This removes ${what} for good. Type "uninstall" to go on:`) !== "uninstall")
      throw new HyperlaneError("USAGE", "Not uninstalled: the word did not match.", { hint: "Nothing was changed." });
  }
  await destroyAll(client, names);
  out.done(`Machines destroyed: ${names.length}`);
  await removeVolumes(client);
  if (volumes) out.done(`Volumes removed: ${volumes}`);
  await removeNode(agent);
  for (const file of ["config.json", "known_hosts"]) rmSync(`${configDir()}/${file}`, { force: true });
  out.done("Network, services and state removed");
  return 0;
}

/** A node of a control plane elsewhere: what it still has is that one's to move or destroy. */
async function leave(out: Output, agent: AgentConfig): Promise<number> {
  if (hasMachines())
    throw new HyperlaneError("STATE", "This node still has machines.", {
      hint: "Where the control plane is: vps migrate NAME, or vps destroy NAME; then vps node rm, and this again.",
    });
  await removeNode(agent);
  out.done("Network, services and state removed; where the control plane is: vps node rm");
  return 0;
}

async function removeNode(agent: AgentConfig): Promise<void> {
  for (const role of ROLES) await supervisor().stop(role);
  await removeUnits();
  await removeNetwork(agent.bridge);
  // Never with what is in it: if anything is, it is a folder of the host's that is still mounted there.
  for (const kind of ["folders", "disks"])
    if (existsSync(`/run/hyperlane/${agent.node}-${kind}`)) rmdirSync(`/run/hyperlane/${agent.node}-${kind}`);
  for (const path of [`/run/hyperlane/${agent.node}`, logDir(), stateDir()]) rmSync(path, { recursive: true, force: true });
}

/** The control plane may just have been started, and its node still be on the way. */
async function machineNames(client: Client): Promise<string[]> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await Bun.sleep(100)) {
    const nodes = await client.listNodes().catch((e: HyperlaneError) => (e.code === "UNAVAILABLE" ? undefined : Promise.reject(e)));
    if (nodes?.items.every((n) => n.connected)) return (await client.listMachines({ query: { limit: 1000 } })).items.map((m) => m.name);
    if (Date.now() > deadline)
      throw new HyperlaneError("TIMEOUT", "The node does not connect, so its machines cannot be destroyed.", {
        hint: `Look into ${logDir()}/agent.log.`,
      });
  }
}

async function removeVolumes(client: Client): Promise<void> {
  await client.pruneVolumes({ body: {} });
  for (const deadline = Date.now() + PATIENCE_MS; (await client.listVolumes()).items.length > 0; await Bun.sleep(100))
    if (Date.now() > deadline)
      throw new HyperlaneError("TIMEOUT", "Not all volumes could be removed.", { hint: "`vps volume list` shows which." });
}

async function destroyAll(client: Client, names: string[]): Promise<void> {
  for (const machine of names) await client.destroyMachine({ params: { machine } });
  for (const deadline = Date.now() + PATIENCE_MS; (await client.listMachines()).items.length > 0; await Bun.sleep(100))
    if (Date.now() > deadline)
      throw new HyperlaneError("TIMEOUT", "Not all machines could be destroyed.", { hint: "`vps list` shows which; then run this again." });
  if (existsSync(`${stateDir()}/machines`)) rmSync(`${stateDir()}/machines`, { recursive: true, force: true });
}
