/** Prometheus text format 0.0.4. */
import { MACHINE_STATES } from "#contract/resources/states.ts";
import type { Deps } from "./handler.ts";

export function renderMetrics({ store, version, startedAt, now }: Deps): string {
  const lines: string[] = [];
  const metric = (name: string, type: "gauge" | "counter", help: string, rows: [labels: Record<string, string>, value: number][]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of rows) {
      const text = Object.entries(labels)
        .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
        .join(",");
      lines.push(`${name}${text && `{${text}}`} ${value}`);
    }
  };
  const states = new Map(MACHINE_STATES.map((s) => [s as string, 0]));
  for (const m of store.state.machine.values()) states.set(m.state, states.get(m.state)! + 1);
  const nodes = [...store.state.node.values()];
  metric("hyperlane_info", "gauge", "The version that runs.", [[{ version }, 1]]);
  metric("hyperlane_uptime_seconds", "gauge", "Since the control plane started.", [[{}, (now() - startedAt) / 1000]]);
  metric("hyperlane_events_total", "counter", "Events in the log.", [[{}, store.lastSeq]]);
  metric(
    "hyperlane_machines",
    "gauge",
    "Machines by state.",
    [...states].map(([state, n]) => [{ state }, n]),
  );
  metric(
    "hyperlane_node_connected",
    "gauge",
    "Whether the node's agent is connected.",
    nodes.map((n) => [{ node: n.name }, Number(n.connected)]),
  );
  metric(
    "hyperlane_node_disk_free_bytes",
    "gauge",
    "Free space for disks and images.",
    nodes.flatMap((n) => (n.status ? [[{ node: n.name }, n.status.diskFreeMib * 2 ** 20] as [Record<string, string>, number]] : [])),
  );
  metric("hyperlane_resident_memory_bytes", "gauge", "Memory of the control plane.", [[{}, process.memoryUsage.rss()]]);
  return `${lines.join("\n")}\n`;
}
