/** Finding a command by a few letters. Pure. */

/** hint: what it leads to, or its key. deep: shown only once somebody types. */
export type Command = { id: string; label: string; hint: string; deep?: true; run: () => void };

/** Those that hold every word that is typed: first those that begin with it, then the shorter. */
export function matching(commands: readonly Command[], query: string): Command[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return commands.filter((c) => !c.deep);
  const rank = ({ label }: Command): number => {
    const text = label.toLowerCase();
    return text === words.join(" ") ? 0 : text.startsWith(words[0]!) ? 1 : 2;
  };
  return commands
    .filter(({ label }) => words.every((w) => label.toLowerCase().includes(w)))
    .sort((a, b) => rank(a) - rank(b) || a.label.length - b.label.length || (a.label < b.label ? -1 : 1));
}
