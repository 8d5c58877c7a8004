/** Where this host keeps things, and how the program calls itself. */
export const ROLES = ["serve", "agent"] as const;
export type Role = (typeof ROLES)[number];
export const TITLES: Record<Role, string> = { serve: "Control plane", agent: "Agent" };

export function stateDir(): string {
  return process.env.HYPERLANE_DIR ?? "/var/lib/hyperlane";
}

export function logDir(): string {
  return process.env.HYPERLANE_DIR ? `${stateDir()}/log` : "/var/log/hyperlane";
}

export function fromSource(): boolean {
  return !Bun.main.startsWith("/$bunfs");
}

/** argv that calls this very program again. */
export function self(): string[] {
  return fromSource() ? [process.execPath, Bun.main, "hyperlane"] : [process.execPath, "hyperlane"];
}
