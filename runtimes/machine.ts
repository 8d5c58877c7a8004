/** What the classes of VMMs have in common: a process with a socket, which is there between start and stop. */
import { rmSync } from "node:fs";
import type { RuntimeType } from "./capabilities.ts";
import { HandlerList, type Handlers } from "./handlers.ts";
import type { ExecResult, Runtime, RuntimeInfo } from "./runtime.ts";
import { within, type Vmm } from "./vmm.ts";

export const EXEC_MS = 60_000;
const SHUTDOWN_MS = 10_000;

export abstract class VmmMachine implements Runtime {
  abstract readonly type: RuntimeType;
  readonly id: string;
  readonly socketPath: string;
  readonly handlers: Handlers<this> = { validation: new HandlerList(), init: new HandlerList() };
  /** The first of `init` starts it. */
  protected vmm: Vmm | undefined;

  constructor(id: string, socketPath: string) {
    this.id = id;
    this.socketPath = socketPath;
  }

  /** Nothing is left of it where it fails. */
  async start(): Promise<void> {
    if (this.isRunning()) throw new Error(`${this.id} runs already.`);
    await this.handlers.validation.run(this);
    try {
      await this.handlers.init.run(this);
    } catch (thrown) {
      await this.stop();
      throw thrown;
    }
  }

  async stop(): Promise<void> {
    // What it did not start is somebody else's.
    if (!this.vmm) return;
    this.vmm.kill();
    await this.vmm.exited.catch(() => {});
    this.clear();
  }

  async shutdown(timeoutMs = SHUTDOWN_MS): Promise<void> {
    if (!this.isRunning()) return;
    await this.askToEnd().catch(() => {});
    await within(timeoutMs, this.vmm!.exited);
    await this.stop();
  }

  isRunning(): boolean {
    return this.vmm !== undefined && !this.vmm.ended;
  }

  getPid(): number | null {
    return this.isRunning() ? this.vmm!.pid : null;
  }

  async wait(): Promise<number> {
    if (!this.vmm) throw new Error(`${this.id} was not started.`);
    return await this.vmm.exited;
  }

  /** It as one that does not run. */
  protected atRest(cpus: number, memoryMib: number): RuntimeInfo {
    const status = this.vmm ? "stopped" : "pending";
    return { id: this.id, type: this.type, status, pid: this.getPid(), cpus, memoryMib, version: null };
  }

  /** What its process leaves behind goes. */
  protected clear(): void {
    rmSync(this.socketPath, { force: true });
  }

  protected abstract askToEnd(): Promise<unknown>;
  abstract pause(): Promise<void>;
  abstract resume(): Promise<void>;
  abstract getInfo(): Promise<RuntimeInfo>;
  abstract exec(cmd: readonly string[], timeoutMs?: number): Promise<ExecResult>;
}
