/** What a machine's process is made from: its document, and what this node has got ready for it. */
import type { Addresses } from "#agent/network/plan.ts";
import type { VmSpec } from "#runtimes/driver.ts";
import { prepareLogs } from "./logs.ts";
import type { Record } from "./record.ts";

type Ready = Pick<VmSpec, "image" | "disk" | "volumes" | "folders" | "devices" | "runDir" | "uid" | "from"> & Partial<Pick<VmSpec, "own">>;
type Node = { kernel: { kernel: string; initramfs: string }; accelerator: "kvm" | "tcg"; tscKhz: number; logsDir: string };

export function vmSpec({ desired }: Record, node: Node, { tap, mac }: Addresses, ready: Ready): VmSpec {
  const { id, name, spec, workload } = desired;
  return {
    id,
    name,
    cpu: spec.cpu,
    memoryMib: spec.memoryMib,
    ...node.kernel,
    own: null,
    tap,
    mac,
    accelerator: node.accelerator,
    tscKhz: node.tscKhz,
    ...ready,
    // The kernel finds its disk, and nothing beside it.
    ...(ready.own && { volumes: [] }),
    ...prepareLogs(node.logsDir, id, ready.uid),
    init: workload.kind === "system" ? workload.init : null,
  };
}
