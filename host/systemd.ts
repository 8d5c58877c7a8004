/** Control plane and agent as systemd services, so that a host that restarts brings its machines back. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { run } from "#agent/host/run.ts";
import { self } from "#cli/program.ts";
import { logDir, ownDir, type Role } from "./place.ts";
import type { Supervisor } from "./supervisor.ts";

const UNITS: Record<Role, string> = { serve: "hyperlane.service", agent: "hyperlane-agent.service" };

/** sd_booted(3). */
export function runsSystemd(): boolean {
  return existsSync("/run/systemd/system");
}

export function unit(role: Role, program: string[]): string {
  const what = role === "serve" ? "Hyperlane control plane" : "Hyperlane node agent";
  return `[Unit]
Description=${what}
After=network.target
# However often it fails: what it waits for may take long.
StartLimitIntervalSec=0

[Service]
ExecStart=${program.map((word) => (/\s/.test(word) ? `"${word}"` : word)).join(" ")} ${role}
Restart=always
RestartSec=1
# Machines outlive their agent.
KillMode=process
StandardOutput=append:${logDir()}/${role}.log
StandardError=append:${logDir()}/${role}.log
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
`;
}

const unitPath = (role: Role): string => `/etc/systemd/system/${UNITS[role]}`;

const active = (role: Role): Promise<boolean> =>
  run(["systemctl", "is-active", "--quiet", UNITS[role]]).then(
    () => true,
    () => false,
  );

export const systemd: Supervisor = {
  async start(role) {
    const path = unitPath(role);
    const text = unit(role, self("hyperlane"));
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
      writeFileSync(path, text);
      await run(["systemctl", "daemon-reload"]);
    }
    const ran = await active(role);
    mkdirSync(logDir(), { recursive: true, mode: 0o750 });
    await run(["systemctl", "enable", "--now", "--quiet", UNITS[role]]);
    return !ran;
  },
  async stop(role) {
    const ran = await active(role);
    // Also one that waits to be started again.
    if (existsSync(unitPath(role))) await run(["systemctl", "stop", UNITS[role]]);
    return ran;
  },
  runs: active,
};

export async function removeUnits(): Promise<void> {
  if (!runsSystemd() || ownDir()) return;
  for (const role of ["serve", "agent"] as const) {
    if (!existsSync(unitPath(role))) continue;
    await run(["systemctl", "disable", "--quiet", UNITS[role]]);
    rmSync(unitPath(role));
  }
  await run(["systemctl", "daemon-reload"]);
}
