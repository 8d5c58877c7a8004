import { useState } from "react";
import { Check, Copy as CopyIcon } from "lucide-react";
import { Button } from "./button.tsx";

const SHOWN_MS = 1200;

/** Puts a text on the clipboard, and says so for a moment. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  return (
    <Button
      look="quiet"
      icon={done ? Check : CopyIcon}
      label={done ? "Copied" : label}
      className="-my-1.5 h-6 w-6! text-soft"
      onClick={async (e) => {
        e.stopPropagation();
        e.preventDefault();
        await navigator.clipboard.writeText(text);
        setDone(true);
        setTimeout(() => setDone(false), SHOWN_MS);
      }}
    />
  );
}

/** A value that people carry elsewhere. */
export function Code({ text, shown = text }: { text: string; shown?: string }) {
  return (
    <span className="inline-flex max-w-full items-center gap-0.5">
      <code className="truncate font-mono text-xs" title={text}>
        {shown}
      </code>
      <Copy text={text} />
    </span>
  );
}
