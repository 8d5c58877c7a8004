/** What a machine has printed: found, followed, saved. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp, Download } from "lucide-react";
import { useDeferredValue, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { toHyperlaneError } from "#contract/errors.ts";
import { encodeU32, F } from "#contract/wire/messages.ts";
import type { Stream } from "#sdk/client.ts";
import { client } from "../data/client.ts";
import { Button } from "../kit/button.tsx";
import { Check, Choice, SearchField } from "../kit/field.tsx";
import { Empty } from "../kit/page.tsx";
import { saveBlob } from "../kit/save.ts";
import { complain } from "../kit/toast.tsx";
import { createLines, LINES_KEPT, type Line } from "./lines.ts";
import { useCurrent } from "./machine.tsx";

const TAIL = 2000;
const DRAW_MS = 100;
const LINE_PX = 19;

export function LogsTab() {
  const machine = useCurrent();
  const navigate = useNavigate();
  const { q = "", view = "" } = useSearch({ strict: false });
  const [follow, setFollow] = useState(true);
  const [stamps, setStamps] = useState(false);
  const { lines, note } = useLog(machine.id, view, stamps, machine.observed?.epoch ?? 0);
  const set = (search: { q?: string; view?: string }): void =>
    void navigate({ to: "/machines/$name/logs", params: { name: machine.name }, search: { q, view, ...search }, replace: true });
  return (
    <div className="flex min-h-72 flex-1 flex-col">
      <Lines
        lines={lines}
        query={q}
        onQuery={(v) => set({ q: v })}
        follow={follow}
        onFollow={setFollow}
        onSave={() => void save(machine.id, machine.name, view).catch(complain)}
      >
        <Choice
          aria-label="Which log"
          value={view}
          options={[
            ["", "Output"],
            ["console", "Console"],
          ]}
          onChange={(e) => set({ view: e.target.value })}
        />
        <Check label="Follow" checked={follow} onChange={(e) => setFollow(e.target.checked)} />
        <Check label="Times" checked={stamps} onChange={(e) => setStamps(e.target.checked)} />
        {note && (
          <span className="text-soft" role="status">
            {note}
          </span>
        )}
      </Lines>
    </div>
  );
}

/** The end of the log, and what comes. */
function useLog(machine: string, view: string, timestamps: boolean, epoch: number): { lines: readonly Line[]; note: string | null } {
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [note, setNote] = useState<string | null>(null);
  useEffect(() => {
    let stream: Stream | undefined;
    let stopped = false;
    let fresh: Line[] = [];
    const reader = createLines();
    setLines([]);
    setNote(null);
    const draw = setInterval(() => {
      if (!fresh.length) return;
      const added = fresh;
      fresh = [];
      setLines((before) => [...before, ...added].slice(-LINES_KEPT));
    }, DRAW_MS);
    const query = { follow: true, tail: TAIL, timestamps, ...(view && { source: view }) };
    client
      .stream(
        "machineLogs",
        { params: { machine }, query },
        {
          message(type, payload) {
            if (type === F.EXIT) {
              fresh.push(...reader.end());
              return setNote("It does not run: this is all it has printed.");
            }
            if (type !== F.STDOUT && type !== F.STDERR) return;
            fresh.push(...reader.push(payload, type === F.STDERR));
            stream?.send(F.CREDIT, encodeU32(payload.length));
          },
          close: (error) => error && setNote(error.message),
        },
      )
      .then(
        (opened) => (stopped ? opened.close() : void (stream = opened)),
        (thrown) => setNote(toHyperlaneError(thrown).message),
      );
    return () => {
      stopped = true;
      clearInterval(draw);
      stream?.close();
    };
  }, [machine, view, timestamps, epoch]);
  return { lines, note };
}

type LinesProps = {
  /** Beside the search. */
  children: ReactNode;
  lines: readonly Line[];
  query: string;
  onQuery: (q: string) => void;
  follow: boolean;
  onFollow: (follow: boolean) => void;
  onSave: () => void;
};

function Lines({ children, lines, query, onQuery, follow, onFollow, onSave }: LinesProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [hit, setHit] = useState(0);
  const wanted = useDeferredValue(query.toLowerCase());
  const hits = useMemo(() => (wanted ? lines.flatMap((l, i) => (l.text.toLowerCase().includes(wanted) ? [i] : [])) : []), [lines, wanted]);
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_PX,
    overscan: 30,
  });
  useEffect(() => {
    if (follow && lines.length) virtual.scrollToIndex(lines.length - 1, { align: "end" });
  }, [lines, follow]);
  const go = (to: number): void => {
    if (!hits.length) return;
    const next = (to + hits.length) % hits.length;
    setHit(next);
    onFollow(false);
    virtual.scrollToIndex(hits[next]!, { align: "center" });
  };
  const current = hits[Math.min(hit, hits.length - 1)];
  return (
    <>
      <div className="flex flex-wrap items-center gap-x-2 gap-y-2 px-4 py-2.5 sm:px-6">
        {children}
        <SearchField
          value={query}
          onValue={(v) => (onQuery(v), setHit(0))}
          label="Search"
          className="ml-auto w-44! sm:w-60!"
          onKeyUp={(e) => e.key === "Enter" && go(hit + (e.shiftKey ? -1 : 1))}
        />
        <Button
          look="quiet"
          icon={ArrowUp}
          label="The one before"
          whyNot={hits.length ? null : "Nothing is found"}
          onClick={() => go(hit - 1)}
        />
        <Button
          look="quiet"
          icon={ArrowDown}
          label="The next one"
          whyNot={hits.length ? null : "Nothing is found"}
          onClick={() => go(hit + 1)}
        />
        {wanted && (
          <span className="text-soft" role="status">
            {hits.length ? `${Math.min(hit, hits.length - 1) + 1} of ${hits.length}` : "not found"}
          </span>
        )}
        <Button icon={Download} onClick={onSave}>
          Download
        </Button>
      </div>
      <div
        ref={scroller}
        tabIndex={0}
        role="log"
        aria-label="Log"
        aria-live="off"
        onWheel={(e) => e.deltaY < 0 && onFollow(false)}
        className="min-h-0 flex-1 overflow-auto border-t border-line bg-panel py-2 font-mono text-xs outline-none"
      >
        {lines.length === 0 && <Empty title="Nothing has been printed yet." />}
        <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {virtual.getVirtualItems().map(({ index, start }) => (
            <div
              key={lines[index]!.n}
              style={{ transform: `translateY(${start}px)`, height: LINE_PX }}
              className={`absolute left-0 min-w-full px-4 leading-[19px] whitespace-pre sm:px-6 ${lines[index]!.bad ? "text-bad" : ""} ${index === current && wanted ? "bg-chosen" : ""}`}
            >
              <Marked text={lines[index]!.text} part={wanted} />
            </div>
          ))}
        </div>
      </div>
    </>
  );
}

function Marked({ text, part }: { text: string; part: string }) {
  const at = part ? text.toLowerCase().indexOf(part) : -1;
  if (at < 0) return text || " ";
  return (
    <>
      {text.slice(0, at)}
      <mark className="rounded-xs bg-warn text-page">{text.slice(at, at + part.length)}</mark>
      <Marked text={text.slice(at + part.length)} part={part} />
    </>
  );
}

/** All of it, as the machine wrote it. */
async function save(machine: string, name: string, view: string): Promise<void> {
  const parts: BlobPart[] = [];
  const done = Promise.withResolvers<void>();
  const stream = await client.stream(
    "machineLogs",
    { params: { machine }, query: { ...(view && { source: view }) } },
    {
      message(type, payload) {
        if (type === F.STDOUT || type === F.STDERR) {
          parts.push(payload.slice());
          stream.send(F.CREDIT, encodeU32(payload.length));
        } else if (type === F.EXIT) done.resolve();
      },
      close: (error) => (error ? done.reject(error) : done.resolve()),
    },
  );
  await done.promise.finally(() => stream.close());
  saveBlob(`${name}${view ? `-${view}` : ""}.log`, new Blob(parts, { type: "text/plain" }));
}
