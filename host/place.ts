/** Where this host keeps things, and what they are called. */
export const ROLES = ["serve", "agent"] as const;
export type Role = (typeof ROLES)[number];
export const TITLES: Record<Role, string> = { serve: "Control plane", agent: "Agent" };

export function stateDir(): string {
  return process.env.HYPERLANE_DIR ?? "/var/lib/hyperlane";
}

export function logDir(): string {
  return process.env.HYPERLANE_DIR ? `${stateDir()}/log` : "/var/log/hyperlane";
}

/** What machines are made of, in build/guest and in the state folder's guest. */
export const GUEST_FILES = ["vmlinux", "initramfs", "debian-12.tar"];
