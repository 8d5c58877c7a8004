/** How this very program is called again: a bundled one lives in a file system of its own. */
export function fromSource(): boolean {
  return !Bun.main.startsWith("/$bunfs");
}

/** argv up to and with the part that is to run. */
export function self(part: "vps" | "hyperlane"): string[] {
  return fromSource() ? [process.execPath, Bun.main, part] : [process.execPath, part];
}
