import { Meter } from "@base-ui/react/meter";

/** How much of something is taken; more: what would come on top. */
export function Bar({ label, used, more = 0, of, text }: { label: string; used: number; more?: number; of: number; text: string }) {
  const share = (n: number): number => (of > 0 ? Math.min(100, (100 * n) / of) : 0);
  const over = used + more > of;
  return (
    <Meter.Root value={Math.min(used + more, of)} max={of || 1} aria-valuetext={text} className="grid grid-cols-[1fr_auto] gap-x-3 gap-y-1">
      <Meter.Label className="text-soft">{label}</Meter.Label>
      <span className={`whitespace-nowrap ${over ? "text-bad" : ""}`}>{text}</span>
      <Meter.Track className="col-span-2 flex h-1.5 overflow-hidden rounded-full bg-line">
        <span className="h-full bg-accent opacity-55" style={{ width: `${share(used)}%` }} />
        <span className={`h-full ${over ? "bg-bad" : "bg-accent"}`} style={{ width: `${Math.min(share(more), 100 - share(used))}%` }} />
      </Meter.Track>
    </Meter.Root>
  );
}
