/**
 * The machine behind a VMM that is stood in for: QEMU boots what that was asked to boot, with the same disks, cable, console and
 * vsock. Where VHOST_DEVICE_VSOCK names rust-vmm's program of that name, the vsock is one in the guest too; else its two
 * ports are ports of a virtio-serial there.
 */
import { existsSync, openSync, readSync, rmSync, statSync, truncateSync } from "node:fs";
import { open } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { connectQmp, type Qmp } from "#runtimes/qemu/qmp.ts";
import { setContent } from "#runtimes/qemu/driver.ts";

export type Asked = {
  cpus: number;
  memoryMib: number;
  kernel: string;
  /** "": none. */
  initramfs: string;
  cmdline: string;
  disks: { id: string; file: string; readonly: boolean }[];
  net: { tap: string; mac: string }[];
  /** As the VMM's API has it. */
  vsock: string | null;
  /** null: what this process says. */
  console: string | null;
};
/** It ends itself with a reset, as Firecracker does, or begins anew. */
type How = { resets: boolean; ended(how: "off" | "reset"): void };
export type Behind = Awaited<ReturnType<typeof startBehind>>;

/** As many in each machine, so that one goes on in another. */
const DISKS = 12;
const VSOCK = process.env.VHOST_DEVICE_VSOCK;

/** from: a file with the state of one that was saved, and where in it. It stands still until `go`. */
export async function startBehind(dir: string, asked: Asked, { resets, ended }: How, from: string | null) {
  const path = (name: string): string => `${dir}/behind-${name}`;
  for (const name of ["qmp", "guest", "vhost"]) rmSync(path(name), { force: true });
  const spare = Array.from({ length: DISKS - asked.disks.length }, (_, i) => ({ id: `spare${i}`, file: "", readonly: false }));
  const disks = [...asked.disks, ...spare];
  const empty = path("empty");
  await Bun.write(empty, "");
  if (VSOCK && asked.vsock !== null) await serveVsock(asked.vsock, path("vhost"));
  const child = Bun.spawn(argvOf(asked, disks, { empty, path, resets, incoming: from !== null }), {
    stdio: ["ignore", asked.console === null ? "inherit" : Bun.file(asked.console), "inherit"],
  });
  const qmp = await dial(path("qmp"), () => child.exitCode !== null);
  const status = async (): Promise<string> => ((await qmp.execute("query-status")) as { status: string }).status;
  qmp.onEvent(({ event, data }) => {
    if (event === "SHUTDOWN") ended(data?.guest === true && data.reason === "guest-reset" ? "reset" : "off");
  });
  if (!VSOCK && asked.vsock !== null) serveHybrid(asked.vsock, path("guest"));
  if (from !== null) await restore(qmp, from, path("in"));
  /** By their order in the guest, as which a disk that comes takes the first that is free. */
  const places = disks.map(({ id }, i) => ({ node: `node-${id}`, id: i < asked.disks.length ? id : null }));
  const setFile = async (id: string | null, file: string): Promise<void> => {
    const { node } = places.find((p) => p.id === id)!;
    await setContent(qmp, node, file || empty, false);
    await qmp.execute("block_resize", { "node-name": node, size: file === "" ? 0 : statSync(file).size });
  };
  return {
    go: async () => void (await qmp.execute("cont")),
    pause: async () => void (await qmp.execute("stop")),
    powerButton: async () => void (await qmp.execute("system_powerdown")),
    setFile,
    async add(id: string, file: string): Promise<void> {
      places.find((p) => p.id === null)!.id = id;
      await setFile(id, file);
    },
    async remove(id: string): Promise<void> {
      await setFile(id, "");
      places.find((p) => p.id === id)!.id = null;
    },
    state: status,
    /** All of it, into a file of so many bytes as it has RAM. */
    async save(file: string): Promise<void> {
      await save(qmp, file, path("out"));
      truncateSync(file, asked.memoryMib * 2 ** 20);
    },
    kill: () => child.kill("SIGKILL"),
  };
}

function argvOf(
  { cpus, memoryMib, kernel, initramfs, cmdline, net, vsock }: Asked,
  disks: Asked["disks"],
  { empty, path, resets, incoming }: { empty: string; path(name: string): string; resets: boolean; incoming: boolean },
): string[] {
  const shared = ["-object", `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`];
  const hybrid = [
    ...["-device", "virtio-serial-device,max_ports=4"],
    ...["-chardev", `socket,id=guest,path=${path("guest")},server=on,wait=off`, "-device", "virtserialport,nr=1,chardev=guest"],
    ...["-chardev", `socket,id=log,path=${vsock}_1025,reconnect=1`, "-device", "virtserialport,nr=2,chardev=log"],
  ];
  const real = ["-chardev", `socket,id=vsock,path=${path("vhost")}`, "-device", "vhost-user-vsock-device,chardev=vsock"];
  return [
    // It ends with the program that stands before it.
    ...["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64"],
    ...["-M", `microvm,acpi=on,rtc=on,pic=off,pit=off,pcie=off,isa-serial=on${VSOCK ? ",memory-backend=ram" : ""}`, "-cpu", "max"],
    ...["-accel", "tcg,thread=multi,tb-size=128", "-smp", String(cpus), "-m", `${memoryMib}M`],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-S", "-serial", "stdio"],
    ...(resets ? ["-no-reboot"] : []),
    ...["-kernel", kernel, ...(initramfs ? ["-initrd", initramfs] : []), "-append", cmdline],
    ...(VSOCK ? ["-global", "virtio-mmio.force-legacy=false", ...shared] : []),
    ...(vsock === null ? [] : VSOCK ? real : hybrid),
    ...disks.flatMap(({ id, file, readonly }) => [
      "-blockdev",
      `driver=raw,node-name=node-${id},read-only=${readonly ? "on" : "off"},file.driver=file,file.locking=off,file.filename=${file || empty}`,
      ...["-device", `virtio-blk-device,drive=node-${id}`],
    ]),
    ...net.flatMap(({ tap, mac }, i) => [
      ...["-netdev", `tap,id=net${i},ifname=${tap},script=no,downscript=no`],
      ...["-device", `virtio-net-device,netdev=net${i},mac=${mac}`],
    ]),
    ...["-device", "virtio-rng-device", ...(incoming ? ["-incoming", "defer"] : [])],
    ...["-qmp", `unix:${path("qmp")},server=on,wait=off`],
  ];
}

async function dial(socket: string, over: () => boolean): Promise<Qmp> {
  for (;;) {
    if (over()) throw new Error("QEMU ended at once");
    const qmp = existsSync(socket) ? await connectQmp(socket).catch(() => undefined) : undefined;
    if (qmp) return qmp;
    await Bun.sleep(5);
  }
}

/** "CONNECT 1024" leads to init's port. */
function serveHybrid(at: string, guest: string): void {
  rmSync(at, { force: true });
  createServer((s) =>
    s
      .on("error", () => {})
      .once("data", (hello: Buffer) => {
        if (!/^CONNECT 1024\n$/.test(hello.toString())) return s.end("ERR\n");
        s.write("OK 1073741824\n");
        const inside = createConnection(guest);
        s.pipe(inside).pipe(s);
        inside.on("error", () => s.destroy()).on("close", () => s.destroy());
        s.on("close", () => inside.destroy());
      }),
  ).listen(at);
}

async function serveVsock(uds: string, socket: string): Promise<void> {
  rmSync(uds, { force: true });
  const vm = `guest-cid=3,uds-path=${uds},socket=${socket}`;
  Bun.spawn(["setpriv", "--pdeathsig", "KILL", "--", VSOCK!, "--vm", vm], { stdio: ["ignore", "ignore", "inherit"] });
  while (!existsSync(socket)) await Bun.sleep(5);
}

/** Eight bytes that say how long it is, and QEMU's own stream. */
async function save(qmp: Qmp, file: string, socket: string): Promise<void> {
  rmSync(socket, { force: true });
  const out = await open(file, "w");
  let at = 8;
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = createServer((s) => {
    let last = Promise.resolve();
    s.on("data", (bytes: Buffer) => {
      const to = at;
      at += bytes.length;
      last = last.then(() => out.write(bytes, 0, bytes.length, to)).then(() => {});
    });
    s.on("end", () => void last.then(resolve));
  }).listen(socket);
  await qmp.execute("migrate", { uri: `unix:${socket}` });
  await promise;
  server.close();
  const head = Buffer.alloc(8);
  head.writeDoubleLE(at - 8);
  await out.write(head, 0, 8, 0);
  await out.close();
}

async function restore(qmp: Qmp, file: string, socket: string): Promise<void> {
  rmSync(socket, { force: true });
  const fd = openSync(file, "r");
  const head = Buffer.alloc(8);
  readSync(fd, head, 0, 8, 0);
  await qmp.execute("migrate-incoming", { uri: `unix:${socket}` });
  const to = createConnection(socket);
  to.on("error", () => {});
  const bytes = Buffer.alloc(2 ** 20);
  for (let at = 8, end = 8 + head.readDoubleLE(0); at < end;) {
    const n = readSync(fd, bytes, 0, Math.min(bytes.length, end - at), at);
    if (!to.write(Buffer.from(bytes.subarray(0, n)))) await new Promise((done) => to.once("drain", done).once("close", done));
    at += n;
  }
  to.end();
  while (((await qmp.execute("query-status")) as { status: string }).status === "inmigrate") await Bun.sleep(5);
}
