/**
 * The user's terminal made truly raw, and put back. Node's raw mode still turns each newline into two characters,
 * which breaks what draws on the screen of a terminal far away; stty(1) can turn that off.
 */
export function makeRaw(): { restore(): void } {
  const stty = (...args: string[]): string =>
    Bun.spawnSync(["stty", ...args], { stdin: "inherit", stdout: "pipe", stderr: "ignore" })
      .stdout.toString()
      .trim();
  const before = stty("-g");
  // Read byte by byte from now on; what stty does after this stays.
  process.stdin.setRawMode(true);
  stty("raw", "-echo");
  return {
    restore(): void {
      process.stdin.setRawMode(false);
      if (before) stty(before);
    },
  };
}
