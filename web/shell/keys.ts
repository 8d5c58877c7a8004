/** Keys: one, or `g` and another. Whoever types in a field types. */
import { useEffect, useRef } from "react";

const SECOND_MS = 1200;

/** By what is pressed: "?", "/", "g m", "mod+k" (Ctrl, or Command). */
export type Keys = Record<string, (e: KeyboardEvent) => void>;

export function useKeys(keys: Keys): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    let first: { key: string; at: number } | undefined;
    const onKey = (e: KeyboardEvent): void => {
      const mod = e.ctrlKey || e.metaKey;
      if (!mod && (isTaken(e) || e.altKey || e.defaultPrevented)) return;
      const alone = mod ? `mod+${e.key.toLowerCase()}` : e.key;
      const pair = first && Date.now() - first.at < SECOND_MS ? `${first.key} ${e.key}` : "";
      first = { key: e.key, at: Date.now() };
      const run = latest.current[pair] ?? latest.current[alone];
      if (!run) return;
      e.preventDefault();
      run(e);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/** Somebody types, or a dialog or a menu is open, or it is the key of the button that has the focus. */
function isTaken({ target, key }: KeyboardEvent): boolean {
  if (document.querySelector('[role="dialog"], [role="menu"]')) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (key === "Enter" && target.matches("a, button")) return true;
  return target.matches("input:not([type=checkbox]), textarea, select") || target.closest(".xterm") !== null;
}
