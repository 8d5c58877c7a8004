/** A machine that boots a kernel of its own: copies of the files of this host that it is made from, below folders that machines may have. */
import { chownSync, closeSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { HyperlaneError } from "#contract/errors.ts";
import { formatMib } from "#contract/size.ts";
import type { Desired } from "#contract/wire/agent.ts";
import type { Folders } from "#agent/host/folders.ts";
import { run } from "#agent/host/run.ts";
import { addressesOf, gateway4, netmask4, type NodeNetwork } from "#agent/network/plan.ts";
import type { Storage } from "#agent/storage/storage.ts";
import type { VmSpec } from "#runtimes/driver.ts";

type Deps = { folders: Folders; storage: Storage; network: { network: NodeNetwork } };
const COPY_MS = 600_000;

/** Its disk: a copy of the file that its spec names, made once, and grown to the size asked for. */
export async function importDisk({ folders, storage }: Deps, { id, spec }: Desired, uid: number): Promise<string> {
  if (storage.has(id)) return await storage.createDisk(id, spec.diskMib, uid);
  const { fd, bytes } = folders.openFile(spec.image);
  try {
    if (bytes > spec.diskMib * 2 ** 20)
      throw new HyperlaneError(
        "INVALID",
        `${spec.image} has ${formatMib(Math.ceil(bytes / 2 ** 20))}, and its disk ${formatMib(spec.diskMib)}.`,
        {
          hint: "Ask for a larger disk: vps up NAME --disk SIZE",
        },
      );
    return await storage.importDisk(id, `/proc/${process.pid}/fd/${fd}`, spec.diskMib, uid);
  } finally {
    closeSync(fd);
  }
}

/** Its kernel as it is now, beside its disk, for its VMM to read; null: it boots ours. */
export async function lendKernel({ folders, network }: Deps, desired: Desired, disk: string, uid: number): Promise<VmSpec["own"]> {
  if (!desired.spec.kernel) return null;
  const { path, initramfs, args } = desired.spec.kernel;
  const lend = async (file: string, name: string): Promise<string> => {
    const to = `${dirname(disk)}/${name}`;
    const { fd } = folders.openFile(file);
    try {
      await run(["cp", "--reflink=auto", `/proc/${process.pid}/fd/${fd}`, `${to}.new`], { timeoutMs: COPY_MS });
    } finally {
      closeSync(fd);
    }
    chownSync(`${to}.new`, uid, uid);
    renameSync(`${to}.new`, to);
    return to;
  };
  return {
    kernel: await lend(path, "kernel"),
    initramfs: initramfs === null ? null : await lend(initramfs, "initramfs"),
    args: [...addressWords(network.network, desired), ...(args === null ? [] : [args])].join(" "),
  };
}

/** Linux, Documentation/admin-guide/nfs/nfsroot.rst: a kernel that can gives itself its address. */
function addressWords(network: NodeNetwork, desired: Desired): string[] {
  const { address4 } = addressesOf(network, desired);
  return [`ip=${address4}::${gateway4(network)}:${netmask4(network)}:${desired.name}:eth0:off`];
}
