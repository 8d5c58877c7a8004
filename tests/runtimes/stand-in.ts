/**
 * Stands in for a VMM that is not there, or whose guests do not run here: serves its API at its socket, holds each request to
 * the API's own table, and writes down what it was asked (RECORD). What a machine says at its vsock is said by a real one: behind the
 * socket GUEST, or, without that, one of its own (behind.ts), made of all that it was asked for.
 *
 *   bun stand-in.ts firecracker|cloud-hypervisor ARGS...      or compiled, under the name of what it stands in for
 */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createConnection, createServer } from "node:net";
import { basename, dirname } from "node:path";
import { ENDPOINTS as CLOUD_HYPERVISOR } from "#runtimes/cloud-hypervisor/schema.ts";
import { match } from "#runtimes/endpoints.ts";
import { ENDPOINTS as FIRECRACKER } from "#runtimes/firecracker/schema.ts";
import { startBehind, type Asked, type Behind } from "./behind.ts";

type Answer = object | undefined;
const KINDS = ["firecracker", "cloud-hypervisor"];
const compiled = KINDS.find((k) => basename(process.execPath) === k);
const [kind, ...args] = compiled ? [compiled, ...process.argv.slice(2)] : (process.argv.slice(2) as [string, ...string[]]);
const { GUEST, RECORD } = process.env;
const VERSION = kind === "firecracker" ? "1.14.0" : "v52.0.0";
if (args[0] === "--version") {
  process.stdout.write(kind === "firecracker" ? `Firecracker v${VERSION}\n` : `cloud-hypervisor ${VERSION}\n`);
  process.exit(0);
}
const after = (flag: string): string => (args[args.indexOf(flag) + 1] ?? "").replace(/^path=/, "");
const socket = kind === "firecracker" ? after("--api-sock") : after("--api-socket");
const dir = dirname(socket);
const note = (what: unknown): void => void (RECORD && appendFileSync(RECORD, `${JSON.stringify(what)}\n`));
note({ argv: args });

let state = "Not started";
let behind: Behind | undefined;
/** What either was told of the machine, in common words. */
const asked: Asked = { cpus: 1, memoryMib: 512, kernel: "", initramfs: "", cmdline: "", disks: [], net: [], vsock: null, console: null };
let config: { cpus?: { boot_vcpus: number }; memory?: { size: number }; payload?: object } = {};

/** Only the handshake: what is said is said by the machine at GUEST. */
const serveGuest = (path: string): void => {
  rmSync(path, { force: true });
  createServer((s) =>
    s.once("data", (hello: Buffer) => {
      if (!/^CONNECT 1024\n$/.test(hello.toString())) return s.end("ERR\n");
      s.write("OK 1073741824\n");
      const guest = createConnection(GUEST!);
      s.pipe(guest).pipe(s);
      for (const end of [s, guest]) end.on("error", () => end.destroy());
    }),
  ).listen(path);
};
const leave = (): void => void setTimeout(() => (behind?.kill(), process.exit(0)), 20);
const ended = (how: "off" | "reset"): void => {
  if (kind === "firecracker") return how === "reset" ? leave() : undefined;
  if (how !== "off") return;
  if (args.includes("--event-monitor")) appendFileSync(after("--event-monitor"), '{"source":"vmm","event":"shutdown"}\n');
  leave();
};
async function boot(from: string | null = null, go = true): Promise<undefined> {
  if (GUEST) return asked.vsock === null ? undefined : (serveGuest(asked.vsock), undefined);
  behind = await startBehind(dir, asked, { resets: kind === "firecracker", ended }, from);
  if (go) await behind.go();
}
const stand = async (still: boolean): Promise<undefined> => {
  state = still ? "Paused" : "Running";
  await (still ? behind?.pause() : behind?.go());
};
const saved = (): void => {
  if (state !== "Paused") throw new Error("a snapshot can only be taken of a machine that is paused");
};
const file = (url: string): string => url.replace("file://", "");

type Drive = { drive_id: string; path_on_host: string; is_read_only?: boolean };
type Disk = { id?: string; path: string; readonly?: boolean };
const diskOf = (d: Disk, i: number) => ({ id: d.id ?? `_disk${i}`, file: d.path, readonly: d.readonly ?? false });
type Created = typeof config & { disks?: Disk[]; net?: Asked["net"]; vsock?: { socket: string }; serial?: { file?: string } };
const answers: Record<string, (body: never) => Answer | Promise<Answer>> = {
  createSyncAction: async ({ action_type }: { action_type: string }) => {
    if (action_type === "InstanceStart") (await boot(), (state = "Running"));
    if (action_type === "SendCtrlAltDel") await (behind ? behind.powerButton() : leave());
    return undefined;
  },
  putMachineConfiguration: (b: { vcpu_count: number; mem_size_mib: number }) =>
    void Object.assign(asked, { cpus: b.vcpu_count, memoryMib: b.mem_size_mib }),
  putGuestBootSource: (b: { kernel_image_path: string; initrd_path?: string; boot_args?: string }) =>
    void Object.assign(asked, { kernel: b.kernel_image_path, initramfs: b.initrd_path, cmdline: b.boot_args }),
  putGuestDriveByID: (d: Drive) => void asked.disks.push({ id: d.drive_id, file: d.path_on_host, readonly: d.is_read_only ?? false }),
  patchGuestDriveByID: async (d: Drive) => {
    asked.disks.find((x) => x.id === d.drive_id)!.file = d.path_on_host;
    await behind?.setFile(d.drive_id, d.path_on_host);
    return undefined;
  },
  getExportVmConfig: () => ({ drives: asked.disks.map((d) => ({ drive_id: d.id, path_on_host: d.file, is_root_device: false })) }),
  putGuestNetworkInterfaceByID: (n: { host_dev_name: string; guest_mac: string }) =>
    void asked.net.push({ tap: n.host_dev_name, mac: n.guest_mac }),
  putGuestVsock: ({ uds_path }: { uds_path: string }) => void (asked.vsock = uds_path),
  patchVm: (body: { state: string }) => stand(body.state === "Paused"),
  loadSnapshot: async (b: { snapshot_path: string; mem_backend?: { backend_path: string }; resume_vm?: boolean }) => {
    if (!GUEST) Object.assign(asked, JSON.parse(readFileSync(b.snapshot_path, "utf8")));
    await boot(b.mem_backend?.backend_path ?? null, b.resume_vm === true);
    state = b.resume_vm ? "Running" : "Paused";
    return undefined;
  },
  createSnapshot: async (b: { snapshot_path: string; mem_file_path: string }) => {
    saved();
    writeFileSync(b.snapshot_path, JSON.stringify(asked));
    await behind?.save(b.mem_file_path);
    return undefined;
  },
  describeInstance: () => ({ app_name: "Firecracker", id: after("--id"), state, vmm_version: VERSION }),
  getMmds: () => ({ latest: {} }),
  createVm: (body: Created) => {
    config = body;
    const { kernel, initramfs, cmdline } = (body.payload ?? {}) as Partial<Asked>;
    Object.assign(asked, { kernel, initramfs, cmdline, cpus: body.cpus?.boot_vcpus ?? 1, net: body.net ?? [] });
    Object.assign(asked, { memoryMib: (body.memory?.size ?? 2 ** 29) / 2 ** 20, disks: (body.disks ?? []).map(diskOf) });
    Object.assign(asked, { vsock: body.vsock?.socket ?? null, console: body.serial?.file ?? null });
    state = "Created";
    return undefined;
  },
  bootVm: async () => (await boot(), (state = "Running"), undefined),
  restoreVm: async ({ source_url }: { source_url: string }) => {
    if (!GUEST) Object.assign(asked, JSON.parse(readFileSync(`${file(source_url)}/config.json`, "utf8")));
    await boot(GUEST ? null : `${file(source_url)}/memory-ranges`, false);
    state = "Paused";
    return undefined;
  },
  pauseVm: () => stand(true),
  resumeVm: () => stand(false),
  snapshotVm: async ({ destination_url }: { destination_url: string }) => {
    saved();
    if (GUEST) return undefined;
    mkdirSync(file(destination_url), { recursive: true });
    writeFileSync(`${file(destination_url)}/config.json`, JSON.stringify(asked));
    writeFileSync(`${file(destination_url)}/state.json`, "{}");
    await behind!.save(`${file(destination_url)}/memory-ranges`);
    return undefined;
  },
  powerButtonVm: async () => (behind ? await behind.powerButton() : leave(), undefined),
  shutdownVmm: () => (leave(), undefined),
  getVmInfo: () => ({
    config: { payload: {}, ...config, net: null },
    state,
    memory_actual_size: config.memory?.size,
    device_tree: Object.fromEntries(asked.disks.map((d) => [d.id, { id: d.id, pci_bdf: null }])),
  }),
  getVmmPing: () => ({ version: VERSION, build_version: null, pid: process.pid }),
  getVmCounters: () => ({ _disk0: { read_bytes: 1 } }),
  addVmDisk: async (d: Disk) => {
    const disk = diskOf(d, asked.disks.length);
    await behind?.add(disk.id, disk.file);
    asked.disks.push(disk);
    return { id: disk.id === "_disk0" ? "_disk1" : disk.id, bdf: "0000:00:06.0" };
  },
  removeVmDevice: async ({ id }: { id: string }) => {
    await behind?.remove(id);
    asked.disks = asked.disks.filter((d) => d.id !== id);
    return undefined;
  },
  resizeVmDisk: async ({ id }: { id: string }) => {
    const disk = asked.disks.find((d) => d.id === id);
    if (disk) await behind?.setFile(id, disk.file);
    return undefined;
  },
};

/** One request after another, as both VMMs do: what comes during a snapshot waits for it. */
let last: Promise<unknown> = Promise.resolve();
const answer = (name: string, body: unknown): Promise<Answer> => {
  const mine = last.then(() => answers[name]?.(body as never));
  last = mine.catch(() => {});
  return mine;
};

rmSync(socket, { force: true });
createHttp((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", async () => {
    const text = Buffer.concat(parts).toString();
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    const found = match(kind === "firecracker" ? FIRECRACKER : CLOUD_HYPERVISOR, request.method!, request.url!, body);
    let [said, error]: [Answer, string | undefined] = [undefined, "error" in found ? found.error : undefined];
    if ("name" in found)
      try {
        said = await answer(found.name, body);
      } catch (thrown) {
        error = (thrown as Error).message;
      }
    note({ name: "name" in found ? found.name : request.url, body, ...("error" in found && { error }) });
    response.writeHead(error !== undefined ? 400 : said === undefined ? 204 : 200, { "content-type": "application/json" });
    response.end(error !== undefined ? JSON.stringify({ fault_message: error }) : said === undefined ? undefined : JSON.stringify(said));
  });
}).listen(socket);
