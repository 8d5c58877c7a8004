/**
 * Containers of a Docker engine, for the agent. Each is called hyperlane-ID and stays between starts, with what was
 * written in it; where its mounts change it is made anew from what it held. Its PID 1 is our init (guest/container.c), so that
 * all that a machine is asked, a container is asked in the same way.
 */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { Driver, ProcessId, Vm, VmState } from "../driver.ts";
import { CAPABILITIES_KEPT, containerName, createBody, limits, query, type Mount } from "./command.ts";
import type { HttpError } from "../http.ts";
import { documents, memoryOf, unlessMissing, type Engine, type Stats } from "./engine.ts";

/** image: as the engine knows it. init: guest/container.c as a program on the host. runDir: what the container sees of the host. */
export type ContainerJob = {
  id: string;
  name: string;
  cpu: number;
  memoryMib: number;
  image: string;
  hostname: string;
  dns: string[];
  dnsSearch: string[];
  extraHosts: string[];
  mounts: Mount[];
  readOnlyRoot: boolean;
  init: string;
  runDir: string;
  workloadLog: string;
};

export type DockerHost = {
  /** Whose containers these are: another node's are not touched. */
  node: string;
  identify(pid: number): ProcessId | undefined;
  isAlive(id: ProcessId): boolean;
};

type Listener = Parameters<Vm["onChange"]>[0];
type Inspected = {
  Id: string;
  State: { Running: boolean; Paused: boolean; Pid: number; Error: string; ExitCode: number };
  Config: { Labels: Record<string, string> };
};

const HOME = "/.hyperlane";
const INIT = "/.hyperlane-init";
const AGAIN_MS = 1_000;
const EVENTS = ["die", "pause", "destroy"];

export function createDocker(engine: Engine, host: DockerHost): Driver<ContainerJob> & { close(): void } {
  const listeners = new Map<string, Set<Listener>>();
  const ending = new AbortController();
  let watching: Promise<void> | undefined;

  const tell = (id: string, what: Parameters<Listener>[0]): void => listeners.get(id)?.forEach((l) => l(what));

  /** Somebody else may stop, pause or remove a container of ours. An engine that restarts may take all of them along. */
  async function watch(): Promise<void> {
    const filters = JSON.stringify({ type: ["container"], label: [`hyperlane.node=${host.node}`], event: EVENTS });
    while (!ending.signal.aborted) {
      try {
        const answer = await engine.stream("GET", `/events${query({ filters })}`, undefined, ending);
        // What happened while nobody listened.
        for (const id of listeners.keys()) tell(id, "gone");
        for await (const { Action, Actor } of documents<{ Action: string; Actor: { Attributes: Record<string, string> } }>(answer))
          tell(Actor.Attributes["hyperlane.machine"]!, Action === "pause" ? "paused" : "gone");
      } catch {
        // It is asked again below.
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS).unref());
    }
  }

  function vmOf(id: string, process: ProcessId): Vm {
    watching ??= watch();
    return createVm(engine, host, id, process, (listener) => {
      listeners.set(id, (listeners.get(id) ?? new Set()).add(listener));
      return () => void (listeners.get(id)?.delete(listener) && !listeners.get(id)!.size && listeners.delete(id));
    });
  }

  return {
    name: "docker",
    savesWhole: false,
    guest: (runDir) => ({ path: `${runDir}/guest.sock`, serve: true }),
    version: async () => (await engine.call<{ Version: string }>("GET", "/version")).Version,
    async start(job, signal) {
      mkdirSync(job.runDir, { recursive: true, mode: 0o700 });
      // For the log to be mounted on.
      writeFileSync(`${job.runDir}/workload.log`, "");
      await makeContainer(engine, host.node, job);
      signal.throwIfAborted();
      await engine.call("POST", `/containers/${containerName(job.id)}/start`);
      const { State } = await inspect(engine, job.id);
      const process = host.identify(State.Pid);
      if (!State.Running || !process) throw new Error(`The container ended at once: ${await lastWords(engine, job.id)}`);
      return vmOf(job.id, process);
    },
    attach: async (process, runDir) => (host.isAlive(process) ? vmOf(basename(runDir), process) : undefined),
    async list() {
      const filters = JSON.stringify({ label: [`hyperlane.node=${host.node}`] });
      const all = await engine.call<{ Labels: Record<string, string> }[]>("GET", `/containers/json${query({ all: true, filters })}`);
      const ids = all.map((c) => c.Labels["hyperlane.machine"]!);
      return await Promise.all(
        ids.map(async (id) => {
          const { State } = await inspect(engine, id);
          return { id, process: (State.Pid && host.identify(State.Pid)) || null };
        }),
      );
    },
    async forget(id) {
      await unlessMissing(engine.call("DELETE", `/containers/${containerName(id)}${query({ force: true })}`));
      const filters = JSON.stringify({ label: [`hyperlane.machine=${id}`] });
      const { Volumes } = await engine.call<{ Volumes: { Name: string }[] | null }>("GET", `/volumes${query({ filters })}`);
      for (const { Name } of Volumes ?? []) await unlessMissing(engine.call("DELETE", `/volumes/${Name}`));
      await unlessMissing(engine.call("DELETE", `/images/${keptOf(id)}${query({ force: true })}`));
    },
    close: () => ending.abort(),
  };
}

/** What a container held that was made anew. */
const keptOf = (id: string): string => `hyperlane/kept:${id}`;
const inspect = (engine: Engine, id: string): Promise<Inspected> => engine.call("GET", `/containers/${containerName(id)}/json`);

/** One that is there is used again, if it would be made in the same way; else what was written in it goes into the next. */
async function makeContainer(engine: Engine, node: string, job: ContainerJob): Promise<void> {
  const { cpu, memoryMib, image: given, ...rest } = job;
  // Only what a volume begins with depends on whether it is new.
  const lasting = { ...rest, mounts: rest.mounts.map(({ noCopy: _, ...mount }) => mount) };
  const made = createHash("sha256").update(JSON.stringify(lasting)).digest("hex").slice(0, 16);
  const there = await unlessMissing(inspect(engine, job.id));
  const isOf = (what: { Config: Inspected["Config"] } | undefined): boolean => what?.Config.Labels["hyperlane.image"] === given;
  if (there && there.Config.Labels["hyperlane.made"] === made && isOf(there))
    return void (await engine.call("POST", `/containers/${there.Id}/update`, limits({ cpus: cpu, memoryMib })));
  if (there && isOf(there)) {
    const [repo, tag] = keptOf(job.id).split(":");
    await engine.call("POST", `/commit${query({ container: there.Id, repo, tag, pause: false })}`, {});
  }
  if (there) await engine.call("DELETE", `/containers/${there.Id}${query({ force: true })}`);
  // It bears the labels of the container that it was made from; one of another image is of no use any more.
  const kept = await unlessMissing(engine.call<{ Config: Inspected["Config"] }>("GET", `/images/${keptOf(job.id)}/json`));
  const image = isOf(kept) ? keptOf(job.id) : given;
  const labels = { "hyperlane.node": node, "hyperlane.machine": job.id, "hyperlane.name": job.name };
  for (const { name, driver } of job.mounts)
    if (name !== undefined && driver) {
      await unlessMissing(engine.call("DELETE", `/volumes/${name}`));
      await engine.call("POST", "/volumes/create", { Name: name, Driver: "local", DriverOpts: driver, Labels: labels });
    }
  const body = createBody({
    image,
    hostname: job.hostname,
    // Whatever the image would run, init is told to by the agent, as in a machine.
    entrypoint: [INIT],
    cmd: [],
    user: "0:0",
    workingDir: "/",
    cpus: cpu,
    memoryMib,
    // Its own network namespace, whose cable lets out nothing under another's name: so it may also ping.
    network: "none",
    capabilities: [...CAPABILITIES_KEPT, "NET_RAW"],
    dns: job.dns,
    dnsSearch: job.dnsSearch,
    extraHosts: job.extraHosts,
    readOnlyRoot: job.readOnlyRoot,
    tmpfs: {},
    labels: { ...labels, "hyperlane.made": made, "hyperlane.image": given },
    volumes: [
      { hostPath: job.init, containerPath: INIT, readOnly: true },
      { hostPath: job.runDir, containerPath: HOME, readOnly: true },
      { hostPath: job.workloadLog, containerPath: `${HOME}/workload.log` },
      ...job.mounts.map(({ driver: _, ...mount }) => mount),
    ],
  });
  await engine.call("POST", `/containers/create${query({ name: containerName(job.id) })}`, body);
}

async function lastWords(engine: Engine, id: string): Promise<string> {
  const { State } = await inspect(engine, id);
  return State.Error || `exit code ${State.ExitCode}`;
}

function createVm(engine: Engine, host: DockerHost, id: string, process: ProcessId, listen: (listener: Listener) => () => void): Vm {
  const at = `/containers/${containerName(id)}`;
  const stops: (() => void)[] = [];
  const cannot = (what: string) => (): Promise<never> => Promise.reject(new Error(`A container cannot ${what} while it runs: restart it.`));
  return {
    process,
    async state(): Promise<VmState> {
      if (!host.isAlive(process)) return "gone";
      try {
        const { State } = await inspect(engine, id);
        return !State.Running ? "gone" : State.Paused ? "paused" : "running";
      } catch (thrown) {
        const { status } = thrown as HttpError;
        if (!host.isAlive(process) || status === 404) return "gone";
        // An engine that does not answer has its containers all the same.
        if (status === 0) return "running";
        throw thrown;
      }
    },
    pause: async () => void (await engine.call("POST", `${at}/pause`)),
    resume: async () => void (await engine.call("POST", `${at}/unpause`)),
    // Its init passes it on to the workload.
    powerButton: async () => void (await engine.call("POST", `${at}/kill${query({ signal: "SIGTERM" })}`)),
    become: cannot("become another"),
    confine: async () => {},
    insertVolume: cannot("get a volume"),
    removeVolume: cannot("lose a volume"),
    growVolume: cannot("see that a volume has grown"),
    save: cannot("be saved with its memory"),
    mover: null,
    async usage() {
      const s = await engine.call<Stats>("GET", `${at}/stats${query({ stream: false, "one-shot": true })}`);
      const { used, limit } = memoryOf(s);
      const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);
      return { memoryMib: mib(limit), memoryFreeMib: mib(limit - used), cpuMs: Math.round(s.cpu_stats.cpu_usage.total_usage / 1e6) };
    },
    quit: async () => void (await engine.call("POST", `${at}/kill`).catch(() => {})),
    onChange: (listener) => void stops.push(listen(listener)),
    detach(): void {
      for (const stop of stops) stop();
    },
  };
}
