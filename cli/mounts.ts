/** Docker's words for what is mounted where, and for networks. */
import { resolve } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import type { Mount } from "#contract/resources/volume.ts";
import { DEFAULT_NETWORK } from "#contract/resources/network.ts";
import { ifThere, type Context, type Flag } from "#cli/command.ts";
import type { Output } from "#cli/render/output.ts";
import type { Client } from "#sdk/client.ts";

export const MOUNT_FLAGS = {
  volume: {
    type: "string",
    multiple: true,
    short: "v",
    value: "SRC:DST[:ro]",
    help: "Mount a volume, made where it is missing, or a folder of the node (:rw to write to it); may be given again",
  },
  network: { type: "string", multiple: true, value: "NAME", help: "Be in this network, or in none (default); may be given again" },
  "network-alias": { type: "string", multiple: true, value: "NAME", help: "Another name in its networks; may be given again" },
  gpu: {
    type: "string",
    multiple: true,
    value: "pci:ADDRESS",
    help: "Give it this device of its node (vps device list); may be given again",
  },
  runtime: { type: "string", value: "NAME", help: "What it runs on: qemu, or docker for a container (qemu)" },
} as const satisfies Record<string, Flag>;

/** SRC:DST[:ro|rw]. undefined: a path alone, which is on the machine's own disk anyway. */
export function parseMount(text: string): Mount | undefined {
  const parts = text.split(":");
  if (parts.length === 1 && text.startsWith("/")) return undefined;
  const [source = "", path = "", how] = parts;
  if (!source || !path.startsWith("/") || parts.length > 3 || (how !== undefined && how !== "ro" && how !== "rw"))
    throw new HyperlaneError("INVALID", `--volume must be like data:/var/lib/data, data:/srv:ro or /srv/site:/www:rw, not "${text}".`, {
      field: "volume",
    });
  if (!/^[./~]/.test(source)) return { volume: source, folder: null, path, readonly: how === "ro" };
  const folder = resolve(source.replace(/^~(?=\/|$)/, process.env.HOME ?? "~"));
  return { volume: null, folder, path, readonly: how !== "rw" };
}

/** The parts of a machine's spec that those flags ask for. */
export function placing(flags: Context["flags"]) {
  const list = (flag: string): string[] => (flags[flag] as string[] | undefined) ?? [];
  const mounts = list("volume").flatMap((text) => parseMount(text) ?? []);
  const names = list("network").map((n) => (n === "bridge" ? DEFAULT_NETWORK : n));
  const aliases = list("network-alias");
  if (names.includes("host"))
    throw new HyperlaneError("UNSUPPORTED", "A machine has a network stack of its own, so there is no --network host.", {
      hint: "-p makes a port reachable on the host.",
    });
  if (names.includes("none") && (names.length > 1 || aliases.length))
    throw new HyperlaneError("USAGE", "--network none goes with no other network and no alias.");
  const networks = (names.length || !aliases.length ? names : [DEFAULT_NETWORK]).filter((n) => n !== "none");
  return {
    ...(mounts.length && { mounts }),
    ...((names.length || aliases.length) && { networks: networks.map((network) => ({ network, aliases })) }),
    ...(list("gpu").length && { devices: list("gpu") }),
    ...(flags.runtime !== undefined && { runtime: flags.runtime as string }),
  };
}

/** As docker run does: a volume that is named and not there is made. */
export async function ensureVolumes(client: Client, out: Output, mounts: readonly Mount[] = []): Promise<void> {
  for (const { volume } of mounts) {
    if (volume === null || (await ifThere(client.getVolume({ params: { volume } })))) continue;
    await client.createVolume({ body: { name: volume } });
    out.note(`The volume ${volume} is made.`);
  }
}
