/** Pulling an image, layer by layer as it comes. Closing the dialog ends it, unless somebody else waits for the same. */
import { useEffect, useRef, useState, type FormEvent } from "react";
import { toHyperlaneError, type HyperlaneError } from "#contract/errors.ts";
import type { Stream } from "#sdk/client.ts";
import { client } from "../data/client.ts";
import { formatBytes, shortDigest } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { Dialog } from "../kit/dialog.tsx";
import { Check, Field } from "../kit/field.tsx";
import { Problem } from "../kit/page.tsx";
import { say } from "../kit/toast.tsx";

type Layer = { digest: string; size: number; done: number; state: "waiting" | "moving" | "there" | "done" };
const WORDS: Record<Layer["state"], string> = { waiting: "waiting", moving: "", there: "here already", done: "done" };

const isHere = ({ state }: Layer): boolean => state === "there" || state === "done";

export function Pull({ onOpenChange }: { onOpenChange: (open: boolean) => void }) {
  const [image, setImage] = useState("");
  const [insecure, setInsecure] = useState(false);
  const [layers, setLayers] = useState<ReadonlyMap<string, Layer>>();
  const [error, setError] = useState<HyperlaneError | null>(null);
  const stream = useRef<Stream>(null);
  const open = useRef(true);
  useEffect(() => {
    open.current = true;
    return () => {
      open.current = false;
      stream.current?.close();
    };
  }, []);
  const busy = layers !== undefined && error === null;

  async function onSubmit(e: FormEvent): Promise<void> {
    e.preventDefault();
    if (busy) return;
    setError(null);
    setLayers(new Map());
    let pulled = false;
    try {
      const opened = await client.stream(
        "pullImage",
        { query: { image: image.trim(), insecure } },
        {
          message: () => {},
          text(text) {
            const { progress, image } = JSON.parse(text) as { progress?: Layer; image?: { name: string } };
            if (progress) setLayers((before) => new Map(before).set(progress.digest, progress));
            if (!image) return;
            pulled = true;
            say(`${image.name} is here`);
            onOpenChange(false);
          },
          close: (failed) => !pulled && setError(failed ?? toHyperlaneError(new Error("The connection was lost."))),
        },
      );
      if (open.current) stream.current = opened;
      else opened.close();
    } catch (thrown) {
      setError(toHyperlaneError(thrown));
    }
  }
  const all = [...(layers?.values() ?? [])];
  const sum = (of: (l: Layer) => number): number => all.reduce((n, l) => n + of(l), 0);
  return (
    <Dialog open onOpenChange={onOpenChange} title="Pull an image" wide={all.length > 0}>
      <form onSubmit={onSubmit} className="flex flex-col gap-3.5 p-4">
        <Field label="Image">
          <input
            required
            autoFocus
            value={image}
            readOnly={busy}
            onChange={(e) => setImage(e.target.value)}
            placeholder="nginx, ghcr.io/owner/app:v1"
            spellCheck={false}
            className="mono"
          />
        </Field>
        <Check label="The registry has no TLS" checked={insecure} disabled={busy} onChange={(e) => setInsecure(e.target.checked)} />
        {error && <Problem error={error} />}
        {all.length > 0 && (
          <ul className="flex max-h-64 flex-col gap-1 overflow-y-auto" aria-label="Layers">
            {all.map((l) => (
              <li key={l.digest} className="grid grid-cols-[6.5rem_1fr_8rem] items-center gap-3">
                <span className="font-mono text-xs text-soft">{shortDigest(l.digest)}</span>
                <progress
                  value={isHere(l) ? 1 : l.done}
                  max={isHere(l) ? 1 : l.size || 1}
                  aria-label={`Layer ${shortDigest(l.digest)}`}
                  className="h-1.5 w-full appearance-none overflow-hidden rounded-full [&::-webkit-progress-bar]:bg-line [&::-webkit-progress-value]:bg-accent"
                />
                <span className="text-right text-xs text-soft">{WORDS[l.state] || `${formatBytes(l.done)} of ${formatBytes(l.size)}`}</span>
              </li>
            ))}
          </ul>
        )}
        {busy && (
          <p className="text-soft" role="status">
            {all.length
              ? `${formatBytes(sum((l) => (isHere(l) ? l.size : l.done)))} of ${formatBytes(sum((l) => l.size))}`
              : "Asking the registry…"}
          </p>
        )}
        <div className="flex justify-end gap-2">
          <Button onClick={() => onOpenChange(false)}>{busy ? "Stop" : "Cancel"}</Button>
          <Button type="submit" look="main" busy={busy}>
            Pull
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
