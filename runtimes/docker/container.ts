/** A container of a Docker engine, on its own: `new Container({...})`, then start, exec, logs, stop. */
import { basename } from "node:path";
import { HandlerList, type Handlers } from "../handlers.ts";
import { TimeoutError, type ExecResult, type Runtime, type RuntimeInfo, type RuntimeStatus } from "../runtime.ts";
import { createBody, limits, query, type ContainerSpec } from "./command.ts";
import { documents, memoryOf, openEngine, outputs, unlessMissing, type Engine, type Stats } from "./engine.ts";

/** id: its name with the engine. socketPath: of the engine (/var/run/docker.sock). pull: when its image is pulled ("missing"). */
export type ContainerOptions = ContainerSpec & {
  id: string;
  socketPath?: string;
  pull?: "missing" | "always" | "never";
  /** Of a registry that asks for them. */
  registryAuth?: { username: string; password: string };
};
export type LogOptions = { tail?: number; since?: Date; until?: Date; timestamps?: boolean };
/** memoryMib: in use, without what the kernel would give back at once. */
export type ContainerStats = {
  cpuMs: number;
  memoryMib: number;
  memoryLimitMib: number;
  pids: number;
  networkInBytes: number;
  networkOutBytes: number;
};
export type ContainerEvent = { action: string; time: Date; attributes: Record<string, string> };

type Inspected = {
  Id: string;
  State: { Status: string; Running: boolean; Paused: boolean; Pid: number; ExitCode: number; Error: string };
  HostConfig: { Memory: number; NanoCpus: number };
};

const EXEC_MS = 60_000;
const POLL_MS = 50;

export class Container implements Runtime {
  readonly type = "docker";
  readonly id: string;
  readonly options: ContainerOptions;
  readonly engine: Engine;
  readonly handlers: Handlers<Container> = { validation: new HandlerList(), init: new HandlerList() };
  #pid: number | null = null;

  constructor(options: ContainerOptions) {
    this.id = options.id;
    this.options = options;
    this.engine = openEngine(options.socketPath ?? "/var/run/docker.sock");
    this.handlers.validation.append("ConfigValidation", (c) => c.#validate());
    this.handlers.init
      .append("PullImage", (c) => c.#pullAsAsked())
      .append("CreateContainer", (c) => c.#create())
      .append("StartContainer", async (c) => void (await c.engine.call("POST", `${c.#at}/start`)));
  }

  get #at(): string {
    return `/containers/${encodeURIComponent(this.id)}`;
  }

  async start(): Promise<void> {
    await this.handlers.validation.run(this);
    await this.handlers.init.run(this);
    await this.#look();
  }

  /** Within timeoutS it may end by itself. */
  async stop(timeoutS = this.options.stopTimeoutS ?? 10): Promise<void> {
    await this.engine.call("POST", `${this.#at}/stop${query({ t: timeoutS })}`);
    this.#pid = null;
  }

  async restart(timeoutS = this.options.stopTimeoutS ?? 10): Promise<void> {
    await this.engine.call("POST", `${this.#at}/restart${query({ t: timeoutS })}`);
    await this.#look();
  }

  shutdown(timeoutMs = 10_000): Promise<void> {
    return this.stop(Math.ceil(timeoutMs / 1000));
  }

  async pause(): Promise<void> {
    await this.engine.call("POST", `${this.#at}/pause`);
  }

  async resume(): Promise<void> {
    await this.engine.call("POST", `${this.#at}/unpause`);
  }

  async kill(signal = "SIGKILL"): Promise<void> {
    await this.engine.call("POST", `${this.#at}/kill${query({ signal })}`);
  }

  /** With force also one that runs; volumes: those without a name go with it. */
  async remove({ force = false, volumes = true }: { force?: boolean; volumes?: boolean } = {}): Promise<void> {
    await this.engine.call("DELETE", `${this.#at}${query({ force, v: volumes })}`);
    this.#pid = null;
  }

  /** As it was when it was last looked at: by start, stop, restart, getInfo. */
  isRunning(): boolean {
    return this.#pid !== null;
  }

  getPid(): number | null {
    return this.#pid;
  }

  async getInfo(): Promise<RuntimeInfo> {
    const [{ State, HostConfig }, { Version }] = await Promise.all([
      this.#look(),
      this.engine.call<{ Version: string }>("GET", "/version"),
    ]);
    return {
      id: this.id,
      type: this.type,
      status: statusOf(State),
      pid: this.#pid,
      cpus: HostConfig.NanoCpus ? HostConfig.NanoCpus / 1e9 : null,
      memoryMib: HostConfig.Memory ? HostConfig.Memory / 2 ** 20 : null,
      version: Version,
    };
  }

  /** More or less CPU and RAM, while it runs. */
  async resize(to: { cpus?: number; memoryMib?: number }): Promise<void> {
    await this.engine.call("POST", `${this.#at}/update`, limits({ ...this.options, ...to }));
  }

  async exec(cmd: readonly string[], timeoutMs = EXEC_MS): Promise<ExecResult> {
    const body = { Cmd: cmd, AttachStdout: true, AttachStderr: true };
    const { Id } = await this.engine.call<{ Id: string }>("POST", `${this.#at}/exec`, body);
    const said = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    const answer = await this.engine.stream("POST", `/exec/${Id}/start`, { Detach: false, Tty: false });
    let late = false;
    const timer = setTimeout(() => ((late = true), answer.destroy()), timeoutMs);
    try {
      for await (const { stream, bytes } of outputs(answer)) said[stream].push(Buffer.from(bytes));
    } catch (thrown) {
      if (!late) throw thrown;
    } finally {
      clearTimeout(timer);
    }
    if (late) {
      await this.#endExec(Id);
      throw new TimeoutError(`"${cmd.join(" ")}" took longer than ${timeoutMs} ms in ${this.id}.`);
    }
    const { ExitCode } = await this.engine.call<{ ExitCode: number }>("GET", `/exec/${Id}/json`);
    return { exitCode: ExitCode, stdout: Buffer.concat(said.stdout).toString(), stderr: Buffer.concat(said.stderr).toString() };
  }

  /** What it printed, both streams as they came. */
  async logs({ tail, since, until, timestamps = false }: LogOptions = {}): Promise<string> {
    const seconds = (at?: Date): number | undefined => (at ? at.getTime() / 1000 : undefined);
    const how = { stdout: true, stderr: true, tail: tail ?? "all", since: seconds(since), until: seconds(until), timestamps };
    const answer = await this.engine.stream("GET", `${this.#at}/logs${query(how)}`);
    const parts: Buffer[] = [];
    if (this.options.tty) for await (const bytes of answer) parts.push(bytes as Buffer);
    else for await (const { bytes } of outputs(answer)) parts.push(Buffer.from(bytes));
    return Buffer.concat(parts).toString();
  }

  async stats(): Promise<ContainerStats> {
    const s = await this.engine.call<Stats>("GET", `${this.#at}/stats${query({ stream: false, "one-shot": true })}`);
    const { used, limit } = memoryOf(s);
    const sum = (of: "rx_bytes" | "tx_bytes"): number => Object.values(s.networks ?? {}).reduce((n, i) => n + i[of], 0);
    return {
      cpuMs: Math.round(s.cpu_stats.cpu_usage.total_usage / 1e6),
      memoryMib: Math.round(used / 2 ** 20),
      memoryLimitMib: Math.round(limit / 2 ** 20),
      pids: s.pids_stats.current ?? 0,
      networkInBytes: sum("rx_bytes"),
      networkOutBytes: sum("tx_bytes"),
    };
  }

  /** What happens to it, from now on, until the signal. */
  async *events(signal?: AbortSignal): AsyncGenerator<ContainerEvent> {
    const filters = JSON.stringify({ type: ["container"], container: [this.id] });
    const answer = await this.engine.stream("GET", `/events${query({ filters })}`, undefined, signal && { signal });
    type Event = { Action: string; timeNano: number; Actor: { Attributes: Record<string, string> } };
    for await (const e of documents<Event>(answer))
      yield { action: e.Action, time: new Date(e.timeNano / 1e6), attributes: e.Actor.Attributes };
  }

  async wait(): Promise<number> {
    const { StatusCode } = await this.engine.call<{ StatusCode: number }>("POST", `${this.#at}/wait`);
    this.#pid = null;
    return StatusCode;
  }

  /** Brings its image in; progress: what the registry says meanwhile. */
  async pull(progress: (line: string) => void = () => {}): Promise<void> {
    const [name, tag] = splitTag(this.options.image);
    const { registryAuth } = this.options;
    // Engine API, "Authentication".
    const headers = registryAuth && { "x-registry-auth": Buffer.from(JSON.stringify(registryAuth)).toString("base64url") };
    const answer = await this.engine.stream("POST", `/images/create${query({ fromImage: name, tag })}`, undefined, { headers });
    for await (const { error, status, id, progress: done } of documents<{
      error?: string;
      status?: string;
      id?: string;
      progress?: string;
    }>(answer)) {
      if (error !== undefined) throw new Error(`Cannot pull ${this.options.image}: ${error}`);
      progress([id, status, done].filter(Boolean).join(" "));
    }
  }

  /** An archive as `docker save` or `docker export` make them becomes an image; load: with all its layers and names. */
  async import(archive: AsyncIterable<Uint8Array>, { load = true }: { load?: boolean } = {}): Promise<void> {
    const [repo, tag] = splitTag(this.options.image);
    const path = load ? `/images/load${query({ quiet: true })}` : `/images/create${query({ fromSrc: "-", repo, tag })}`;
    for await (const { error } of documents<{ error?: string }>(await this.engine.stream("POST", path, archive)))
      if (error !== undefined) throw new Error(`Cannot import ${this.options.image}: ${error}`);
  }

  #validate(): void {
    const { id, image, memoryMib, cpus, readOnlyRoot, privileged } = this.options;
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(id)) throw new Error(`"${id}" is no name for a container: letters, digits, "_", "." and "-".`);
    if (!image) throw new Error("An image must be named.");
    if (memoryMib !== undefined && memoryMib < 6) throw new Error("memoryMib must be at least 6: Docker takes no less.");
    if (cpus !== undefined && cpus <= 0) throw new Error("cpus must be more than 0.");
    if (privileged && readOnlyRoot) throw new Error("A privileged container can write wherever it likes: leave readOnlyRoot out.");
  }

  async #pullAsAsked(): Promise<void> {
    const { pull = "missing", image } = this.options;
    if (pull === "never") return;
    if (pull === "missing" && (await unlessMissing(this.engine.call("GET", `/images/${image}/json`))) !== undefined) return;
    await this.pull();
  }

  async #create(): Promise<void> {
    if ((await unlessMissing(this.engine.call("GET", `${this.#at}/json`))) !== undefined) return;
    await this.engine.call("POST", `/containers/create${query({ name: this.id })}`, createBody(this.options));
  }

  async #look(): Promise<Inspected> {
    const seen = await this.engine.call<Inspected>("GET", `${this.#at}/json`);
    this.#pid = seen.State.Running ? seen.State.Pid : null;
    return seen;
  }

  /** The engine has no way to end a command: it is ended as a process of the container's. */
  async #endExec(execId: string): Promise<void> {
    const { Pid, Running } = await this.engine.call<{ Pid: number; Running: boolean }>("GET", `/exec/${execId}/json`);
    if (!Running || !Pid) return;
    try {
      process.kill(Pid, "SIGKILL");
    } catch {
      // Of another host, or gone.
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

function statusOf(s: Inspected["State"]): RuntimeStatus {
  if (s.Paused) return "paused";
  if (s.Running) return s.Status === "restarting" ? "starting" : "running";
  if (s.Status === "created") return "pending";
  return s.Status === "dead" || s.Error ? "failed" : "stopped";
}

/** host:5000/name:tag, name@sha256:... */
function splitTag(image: string): [name: string, tag: string | undefined] {
  if (image.includes("@")) return [image, undefined];
  const colon = basename(image).indexOf(":");
  return colon < 0 ? [image, "latest"] : [image.slice(0, image.length - basename(image).length + colon), basename(image).slice(colon + 1)];
}
