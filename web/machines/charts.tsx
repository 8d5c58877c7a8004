/** CPU, memory, disk and network as they are used, for the last five minutes that somebody looked. */
import { useEffect, useRef, useState, type ReactNode } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatMib } from "#contract/size.ts";
import type { Machine } from "#contract/resources/machine.ts";
import { client } from "../data/client.ts";
import { formatBytes } from "../kit/amounts.ts";
import { Panel } from "../kit/page.tsx";
import { colour, onTheme } from "../shell/theme.ts";
import { sampleOf, type Sample, type Stats } from "./samples.ts";

const LOOK_MS = 2000;
const KEPT = 150;
const HEIGHT = 84;
/** Outlives the view, so that coming back shows what was seen. */
const histories = new Map<string, Sample[]>();
const HISTORIES_MAX = 20;

type Series = { name: string; of: (s: Sample) => number; colour: string };

export function Charts({ machine }: { machine: Machine }) {
  const runs = machine.state === "running";
  const { samples, stats } = useSamples(machine.id, runs);
  const { spec } = machine;
  const last = samples.at(-1);
  const shown = (text: string): string => (last && runs ? text : "–");
  return (
    <div className="grid grid-cols-2 gap-3 xl:grid-cols-4">
      <Chart
        title="CPU"
        now={shown(last ? `${(100 * last.cpu).toFixed(last.cpu < 0.1 ? 1 : 0)}%` : "")}
        note={`of ${spec.cpu * 100}%`}
        samples={samples}
        least={0.1}
        series={[{ name: "CPU", of: (s) => s.cpu, colour: "accent" }]}
      />
      <Chart
        title="Memory"
        now={shown(last ? formatMib(last.memory) : "")}
        note={`of ${formatMib(spec.memoryMib)}`}
        samples={samples}
        most={spec.memoryMib}
        series={[{ name: "Memory", of: (s) => s.memory, colour: "accent" }]}
      />
      <Chart
        title="Disk"
        now={shown(last ? formatMib(Math.max(1, last.disk)) : "")}
        note={`of ${formatMib(stats?.diskMib ?? spec.diskMib)}`}
        samples={samples}
        most={stats?.diskMib ?? spec.diskMib}
        series={[{ name: "Disk", of: (s) => s.disk, colour: "accent" }]}
      />
      <Chart
        title="Network"
        now={shown(last ? `${formatBytes(last.in)}/s` : "")}
        note={last && runs ? `in, ${formatBytes(last.out)}/s out` : "in and out"}
        samples={samples}
        least={1024}
        series={[
          { name: "In", of: (s) => s.in, colour: "accent" },
          { name: "Out", of: (s) => s.out, colour: "sleep" },
        ]}
      />
    </div>
  );
}

function useSamples(machine: string, runs: boolean): { samples: readonly Sample[]; stats: Stats | undefined } {
  const [samples, setSamples] = useState<readonly Sample[]>(() => histories.get(machine) ?? []);
  const [stats, setStats] = useState<Stats>();
  useEffect(() => {
    if (!runs) return;
    let before: { at: number; stats: Stats } | undefined;
    let stopped = false;
    const look = async (): Promise<void> => {
      if (document.hidden) return;
      // What does not answer now is asked again.
      const stats = await client.machineStats({ params: { machine } }).catch(() => undefined);
      if (!stats || stopped) return;
      const now = { at: Date.now() / 1000, stats };
      const sample = before && sampleOf(before, now);
      before = now;
      setStats(stats);
      if (!sample) return;
      const kept = [...(histories.get(machine) ?? []), sample].slice(-KEPT);
      histories.delete(machine);
      histories.set(machine, kept);
      if (histories.size > HISTORIES_MAX) histories.delete(histories.keys().next().value!);
      setSamples(kept);
    };
    void look();
    const timer = setInterval(() => void look(), LOOK_MS);
    return () => {
      stopped = true;
      clearInterval(timer);
    };
  }, [machine, runs]);
  return { samples, stats };
}

type ChartProps = {
  title: string;
  now: ReactNode;
  note: string;
  samples: readonly Sample[];
  series: readonly Series[];
  /** The top of it. Without one it is as high as what it shows, and no lower than `least`. */
  most?: number;
  least?: number;
};

function Chart({ title, now, note, samples, series, most, least = 1 }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  useEffect(() => {
    const make = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(series, box.current!.clientWidth, { most, least }), dataOf(samples, series), box.current!);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: box.current!.clientWidth, height: HEIGHT }));
    resized.observe(box.current!);
    const off = onTheme(make);
    return () => {
      resized.disconnect();
      off();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [most]);
  useEffect(() => plot.current?.setData(dataOf(samples, series)), [samples]);
  return (
    <Panel className="overflow-hidden pt-3">
      <div className="flex items-baseline gap-2 px-3.5 whitespace-nowrap">
        <h2 className="text-soft">{title}</h2>
        <span className="ml-auto text-lg font-semibold tracking-tight">{now}</span>
        <span className="text-xs text-soft max-sm:hidden">{note}</span>
      </div>
      <div ref={box} role="img" aria-label={`${title} of the last minutes`} style={{ height: HEIGHT }} />
    </Panel>
  );
}

function dataOf(samples: readonly Sample[], series: readonly Series[]): uPlot.AlignedData {
  return [samples.map((s) => s.at), ...series.map(({ of }) => samples.map(of))];
}

function optionsOf(series: readonly Series[], width: number, { most, least }: { most: number | undefined; least: number }): uPlot.Options {
  const span = (KEPT * LOOK_MS) / 1000;
  return {
    width,
    height: HEIGHT,
    padding: [6, 0, 0, 0],
    cursor: { y: false, points: { size: 5 }, sync: { key: "machine" } },
    select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    legend: { show: false },
    axes: [{ show: false }, { show: false }],
    scales: {
      // As wide as what was seen, a minute at least.
      x: { range: (_, min, max) => [max - Math.min(span, Math.max(60, max - min)), max] },
      y: { range: (_, __, max) => [0, most ?? Math.max(max * 1.15, least)] },
    },
    series: [
      {},
      ...series.map(({ name, colour: of }) => ({
        label: name,
        stroke: colour(of),
        width: 1.5,
        fill: colour(of).replace(/^rgba?\((\d+), (\d+), (\d+).*$/, "rgba($1, $2, $3, 0.12)"),
        points: { show: false },
      })),
    ],
  };
}
