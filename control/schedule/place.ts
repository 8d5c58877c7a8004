/**
 * Placement: which node takes a machine. Deterministic and in one pass: of the nodes where it fits, the one with the
 * largest share of RAM left free; then the smaller id. A placed machine holds its share whatever its power, so that
 * starting a stopped one never fails for lack of room.
 */
import type { Node } from "#contract/resources/other.ts";
import type { MachineSpec } from "#contract/resources/machine.ts";
import { addressOf } from "#contract/resources/device.ts";
import { isBelow } from "#contract/resources/volume.ts";
import { formatMib } from "#contract/size.ts";
import { DEFAULT_RUNTIME } from "#runtimes/capabilities.ts";

export type Usage = { cpu: number; memoryMib: number; diskMib: number; slots: Set<number>; devices: Set<string> };
export type Placement = { node: string; slot: number } | { reason: string };
type Placed = { node: string | null; spec: MachineSpec; slot: number; migration?: { to: string; slot: number } | null };

export function usageByNode(machines: Iterable<Placed>, volumes: Iterable<{ node: string | null; sizeMib: number }>): Map<string, Usage> {
  const usage = new Map<string, Usage>();
  for (const m of machines) {
    if (m.node !== null) reserve(usage, m.node, m.spec, m.slot);
    if (m.migration) reserve(usage, m.migration.to, m.spec, m.migration.slot);
  }
  for (const { node, sizeMib } of volumes) if (node !== null) of(usage, node).diskMib += sizeMib;
  return usage;
}

function of(usage: Map<string, Usage>, node: string): Usage {
  const u = usage.get(node) ?? { cpu: 0, memoryMib: 0, diskMib: 0, slots: new Set<number>(), devices: new Set<string>() };
  usage.set(node, u);
  return u;
}

export function reserve(usage: Map<string, Usage>, node: string, spec: MachineSpec, slot: number): void {
  const u = of(usage, node);
  u.cpu += spec.cpu;
  u.memoryMib += spec.memoryMib;
  u.diskMib += spec.diskMib;
  u.slots.add(slot);
  for (const device of spec.devices) u.devices.add(device);
}

/** slot: the one to have, if it is free. */
export function place(spec: MachineSpec, nodes: Iterable<Node>, usage: Map<string, Usage>, slot?: number): Placement {
  const refusals: string[] = [];
  let best: { node: Node; free: number } | undefined;
  for (const node of nodes) {
    const refusal = whyNot(spec, node, usage.get(node.id));
    if (refusal !== null) {
      refusals.push(`${node.name}: ${refusal}`);
      continue;
    }
    const free = 1 - ((usage.get(node.id)?.memoryMib ?? 0) + spec.memoryMib) / node.status!.memoryMib;
    if (!best || free > best.free || (free === best.free && node.id < best.node.id)) best = { node, free };
  }
  if (!best) return { reason: refusals.length ? `No node takes it. ${refusals.sort().join("; ")}` : "No node is enrolled." };
  const slots = usage.get(best.node.id)?.slots;
  return { node: best.node.id, slot: slot === undefined || slots?.has(slot) ? firstFree(slots) : slot };
}

/** CPUs are shared by turns, so they are promised several times over; RAM and disk are not. */
export const CPU_OVERCOMMIT = 8;

/** null when the machine fits beside what the node already holds. */
export function whyNot(spec: MachineSpec, node: Node, usage: Usage | undefined): string | null {
  const s = node.status;
  if (!node.connected || !s) return "not connected";
  if (node.draining) return "is drained";
  const runtime = spec.runtime ?? DEFAULT_RUNTIME;
  if (!s.runtimes.includes(runtime)) return `has no runtime "${runtime}", but ${s.runtimes.join(", ")}`;
  for (const ref of spec.devices) {
    const device = s.devices.find((d) => d.address === addressOf(ref));
    const why = device ? device.unavailable : "it has no such device";
    if (why !== null) return `${ref}: ${why}`;
    if (usage?.devices.has(ref)) return `${ref}: another machine has it`;
  }
  const { kernel, image, mounts } = spec;
  const files = [...mounts.map((m) => m.folder), ...(kernel ? [kernel.path, kernel.initramfs, image] : [])];
  const file = files.find((path) => path !== null && !isBelow(path, s.folders));
  if (file != null) return `does not let machines have ${file}`;
  const used = usage ?? { cpu: 0, memoryMib: 0, diskMib: 0 };
  if (spec.cpu > s.cpu) return `${spec.cpu} CPU asked, and it has ${s.cpu}`;
  const promised = s.cpu * CPU_OVERCOMMIT;
  if (used.cpu + spec.cpu > promised)
    return `${spec.cpu} CPU asked, ${promised - used.cpu} of ${promised} (${s.cpu}, each promised ${CPU_OVERCOMMIT} times) free`;
  if (used.memoryMib + spec.memoryMib > s.memoryMib)
    return `${formatMib(spec.memoryMib)} RAM asked, ${size(s.memoryMib - used.memoryMib)} of ${formatMib(s.memoryMib)} free`;
  if (used.diskMib + spec.diskMib > s.diskMib)
    return `${formatMib(spec.diskMib)} disk asked, ${size(s.diskMib - used.diskMib)} of ${formatMib(s.diskMib)} free`;
  return null;
}

function size(mib: number): string {
  return mib > 0 ? formatMib(mib) : "0";
}

function firstFree(slots: Set<number> | undefined): number {
  let slot = 0;
  // Slots fill from below, so counting up from the number in use finds a hole or the end soon.
  while (slots?.has(slot)) slot++;
  return slot;
}
