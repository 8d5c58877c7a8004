/** What every bench prints: one line a measure, the goal beside the figure, and a JSON line for programs. */
export type Measure = { name: string; value: number; unit: string; goal?: { at: "most" | "least"; value: number }; note?: string };

export function report(measures: Measure[]): void {
  for (const m of measures) {
    const met =
      m.goal === undefined ? "" : (m.goal.at === "most" ? m.value <= m.goal.value : m.value >= m.goal.value) ? "  met" : "  NOT met";
    const goal = m.goal === undefined ? "" : `  goal ${m.goal.at === "most" ? "<=" : ">="} ${m.goal.value} ${m.unit}`;
    process.stdout.write(
      `${m.name.padEnd(58)} ${format(m.value).padStart(9)} ${m.unit.padEnd(6)}${goal}${met}${m.note ? `  (${m.note})` : ""}\n`,
    );
  }
  process.stdout.write(`${JSON.stringify(measures)}\n`);
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** Runs each in turn, so that a noisy moment strikes all alike; medians in ms. */
export async function interleaved(rounds: number, programs: Record<string, () => Promise<void>>): Promise<Record<string, number>> {
  const times = Object.fromEntries(Object.keys(programs).map((k) => [k, [] as number[]]));
  for (let round = 0; round < rounds; round++)
    for (const [name, run] of Object.entries(programs)) {
      const from = performance.now();
      await run();
      if (round > 0) times[name]!.push(performance.now() - from);
    }
  return Object.fromEntries(Object.entries(times).map(([k, v]) => [k, median(v)]));
}
