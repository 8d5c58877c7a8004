/** Where this host keeps things, and what they are called. */
import { fromSource } from "#cli/program.ts";

export const ROLES = ["serve", "agent"] as const;
export type Role = (typeof ROLES)[number];
export const TITLES: Record<Role, string> = { serve: "Control plane", agent: "Agent" };

/** A folder of one's own, where the environment names one: HYPERLANE_DIR, or DATA_DIR as the Hypeman specification has it. */
export function ownDir(): string | undefined {
  return process.env.HYPERLANE_DIR || process.env.DATA_DIR || undefined;
}

export function stateDir(): string {
  return ownDir() ?? "/var/lib/hyperlane";
}

export function logDir(): string {
  return ownDir() ? `${stateDir()}/log` : "/var/log/hyperlane";
}

/** The files of the web UI: inside the executable, or where the source tree has built them. */
export function webDir(): string {
  return fromSource() ? `${import.meta.dirname}/../build/web` : "/$bunfs/root/web";
}

/** What machines are made of, in build/guest and in the state folder's guest. */
export const GUEST_FILES = ["vmlinux", "initramfs", "init-container", "discard.so", "relay", "debian-12.tar"];
