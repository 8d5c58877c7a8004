/**
 * One interface over machines and containers, whatever runs them (seeds: Hyperfleet's shared Runtime). Each folder beside
 * this file has a class of it, which needs nothing else of Hyperlane.
 */
import type { RuntimeType } from "./capabilities.ts";

export type RuntimeStatus = "pending" | "starting" | "running" | "paused" | "stopping" | "stopped" | "failed";
/** pid: of its process on the host, where it has one. cpus: may be parts of one. */
export type RuntimeInfo = {
  id: string;
  type: RuntimeType;
  status: RuntimeStatus;
  pid: number | null;
  cpus: number | null;
  memoryMib: number | null;
  /** Of the VMM or the engine. */
  version: string | null;
};
/** exitCode: as a shell would say it, 128 + n for a signal. */
export type ExecResult = { exitCode: number; stdout: string; stderr: string };

export interface Runtime {
  readonly type: RuntimeType;
  readonly id: string;

  /** Makes it where it is not there yet, and starts it. */
  start(): Promise<void>;
  /** Ends it at once. One that does not run stays as it is. */
  stop(): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Asks it to end, and ends it where it has not after that long (10 s). */
  shutdown(timeoutMs?: number): Promise<void>;

  isRunning(): boolean;
  /** Of its process, or what its engine calls it; null while it does not run. */
  getPid(): number | string | null;
  getInfo(): Promise<RuntimeInfo>;

  /** Throws TimeoutError where it takes longer. */
  exec(cmd: readonly string[], timeoutMs?: number): Promise<ExecResult>;
  /** Until it has ended; its exit code. */
  wait(): Promise<number>;
}

export class TimeoutError extends Error {}
/** This runtime has no such thing. */
export class UnsupportedError extends Error {}
