/**
 * Stands in for a VMM that is not there: serves its API at its socket, holds each request to the API's own table, and writes
 * down what it was asked. What a machine says at its vsock is said by a real one, behind the socket GUEST.
 *
 *   bun stand-in.ts firecracker|cloud-hypervisor RECORD ARGS...
 */
import { appendFileSync, rmSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createConnection, createServer } from "node:net";
import { ENDPOINTS as CLOUD_HYPERVISOR } from "#runtimes/cloud-hypervisor/schema.ts";
import { match } from "#runtimes/endpoints.ts";
import { ENDPOINTS as FIRECRACKER } from "#runtimes/firecracker/schema.ts";

type Answer = object | undefined | { error: string };
const [kind, record, ...args] = process.argv.slice(2) as ["firecracker" | "cloud-hypervisor", string, ...string[]];
const after = (flag: string): string => args[args.indexOf(flag) + 1]!;
const socket = kind === "firecracker" ? after("--api-sock") : after("--api-socket").replace("path=", "");
const note = (what: unknown): void => appendFileSync(record, `${JSON.stringify(what)}\n`);
note({ argv: args });

let state = "Not started";
let config: { cpus?: { boot_vcpus: number }; memory?: { size: number }; payload?: object } = {};
const vsock = (path: string): void => {
  rmSync(path, { force: true });
  createServer((s) =>
    s.once("data", (hello: Buffer) => {
      if (!/^CONNECT 1024\n$/.test(hello.toString())) return s.end("ERR\n");
      s.write("OK 1073741824\n");
      const guest = createConnection(process.env.GUEST!);
      s.pipe(guest).pipe(s);
      for (const end of [s, guest]) end.on("error", () => end.destroy());
    }),
  ).listen(path);
};

const leave = (): void => void setTimeout(() => process.exit(0), 20);
const answers: Record<string, (body: never) => Answer> = {
  createSyncAction: ({ action_type }: { action_type: string }) => {
    if (action_type === "InstanceStart") state = "Running";
    if (action_type === "SendCtrlAltDel") leave();
    return undefined;
  },
  patchVm: (body: { state: string }) => ((state = body.state === "Paused" ? "Paused" : "Running"), undefined),
  loadSnapshot: (body: { resume_vm?: boolean }) => ((state = body.resume_vm ? "Running" : "Paused"), undefined),
  describeInstance: () => ({ app_name: "Firecracker", id: after("--id"), state, vmm_version: "1.14.0" }),
  putGuestVsock: ({ uds_path }: { uds_path: string }) => (vsock(uds_path), undefined),
  createSnapshot: () => (state === "Paused" ? undefined : { error: "a snapshot can only be taken of a machine that is paused" }),
  getMmds: () => ({ latest: {} }),
  createVm: (body: typeof config & { vsock?: { socket: string } }) => {
    config = body;
    if (body.vsock) vsock(body.vsock.socket);
    state = "Created";
    return undefined;
  },
  bootVm: () => ((state = "Running"), undefined),
  restoreVm: () => ((state = "Paused"), undefined),
  pauseVm: () => ((state = "Paused"), undefined),
  resumeVm: () => ((state = "Running"), undefined),
  snapshotVm: () => (state === "Paused" ? undefined : { error: "a snapshot can only be taken of a machine that is paused" }),
  powerButtonVm: () => (leave(), undefined),
  shutdownVmm: () => (leave(), undefined),
  getVmInfo: () => ({ config: { payload: {}, ...config }, state, memory_actual_size: config.memory?.size }),
  getVmmPing: () => ({ version: "v52.0.0", build_version: "v52.0", pid: process.pid }),
  getVmCounters: () => ({ _disk0: { read_bytes: 1 } }),
  addVmDisk: ({ id }: { id?: string }) => ({ id: id ?? "_disk1", bdf: "0000:00:06.0" }),
};

rmSync(socket, { force: true });
createHttp((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    const text = Buffer.concat(parts).toString();
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    const found = match(kind === "firecracker" ? FIRECRACKER : CLOUD_HYPERVISOR, request.method!, request.url!, body);
    const answer = "error" in found ? found : answers[found.name]?.(body as never);
    note({ name: "name" in found ? found.name : request.url, body, ...("error" in found && { error: found.error }) });
    const refused = answer !== undefined && "error" in answer;
    response.writeHead(refused ? 400 : answer === undefined ? 204 : 200, { "content-type": "application/json" });
    response.end(refused ? JSON.stringify({ fault_message: answer.error }) : answer === undefined ? undefined : JSON.stringify(answer));
  });
}).listen(socket);
