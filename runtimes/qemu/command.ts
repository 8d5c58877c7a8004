/** A QEMU command line. Pure; the snapshot beside it shows what the host really executes. */
import type { VmSpec } from "../driver.ts";
import { asNobody, bootsFrom, emptyFile, folderSocket, folderTag, kernelCommandLine } from "../command.ts";

export const QEMU = "qemu-system-x86_64";
export const GUEST_PORT = "hyperlane.0";
const LOG_PORT = "hyperlane.log";
/** The character devices behind which the logs are. */
export const CONSOLE = "console";
export const WORKLOAD = "workload";

export function qmpSocket(runDir: string): string {
  return `${runDir}/qmp.sock`;
}
/** What QEMU says of its devices, before it is taken to where it was asked for. */
export function devicesFile(runDir: string): string {
  return `${runDir}/devices`;
}
export function guestSocket(runDir: string): string {
  return `${runDir}/guest.sock`;
}

/** It waits to become a machine that runs elsewhere. boots: that one had booted, and did not go on from a template or the like. */
type Arrives = { boots: boolean };

/** kvmGid: the group that may use /dev/kvm. */
export function qemuArgv(spec: VmSpec, kvmGid: number | null, arrives?: Arrives): string[] {
  const drop = asNobody(spec.uid, kvmGid, spec.devices.length > 0);
  const kvm = spec.accelerator === "kvm";
  const memory = memoryOptions(spec, arrives);
  const boots = bootsFrom(spec);
  const options: [string, string][] = [
    ["-name", `guest=${spec.id},process=hl-${spec.name.slice(0, 12)},debug-threads=on`],
    [
      "-M",
      `microvm,acpi=on,rtc=on,pic=off,pit=off,pcie=${spec.devices.length ? "on" : "off"},isa-serial=on${memory.length ? ",memory-backend=ram" : ""}${spec.from ? ",suppress-vmdesc=on" : ""}`,
    ],
    ...memory,
    // Emulation keeps its translations in a cache that may grow to 1 GiB, which the machine's memory limit would not bear.
    ["-accel", kvm ? "kvm" : "tcg,thread=multi,tb-size=128"],
    ["-cpu", kvm ? "host" : "max"],
    ["-smp", String(spec.cpu)],
    ["-m", `${spec.memoryMib}M`],
    ["-display", "none"],
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ["-kernel", boots.kernel],
    ...(boots.initramfs === null ? [] : [["-initrd", boots.initramfs] as [string, string]]),
    ["-append", kernelCommandLine(spec)],
    ["-chardev", `file,id=${CONSOLE},path=${escape(spec.consoleLog)},append=on`],
    ["-serial", `chardev:${CONSOLE}`],
    // First, so that init finds its port under the same name whatever else there is: /dev/vport0p1.
    ["-device", "virtio-serial-device,max_ports=4"],
    // The kernel finds them in this order: /dev/vda, /dev/vdb, and the volumes.
    ...(spec.own ? [] : disk(IMAGE_NODE, spec.image ?? emptyFile(spec.runDir), true)),
    ...disk(DISK_NODE, spec.disk ?? emptyFile(spec.runDir), false),
    ...spec.volumes.flatMap((v, place) => disk(volumeNode(place), v.file ?? emptyFile(spec.runDir), v.readonly)),
    ...folders(spec),
    ["-netdev", `tap,id=net,ifname=${spec.tap},script=no,downscript=no`],
    ["-device", `virtio-net-device,netdev=net,mac=${spec.mac}`],
    ["-chardev", `socket,id=guest,path=${escape(guestSocket(spec.runDir))},server=on,wait=off`],
    ["-device", `virtserialport,nr=1,chardev=guest,name=${GUEST_PORT}`],
    // A system writes its journal to a terminal; our init writes records, through which no terminal should lie. Both
    // are there in every machine, so that it can go on from a template of either.
    ["-chardev", `file,id=${WORKLOAD},path=${escape(spec.workloadLog)},append=on`],
    ["-chardev", "null,id=nothing"],
    ["-device", `virtserialport,nr=2,chardev=${spec.init === null ? WORKLOAD : "nothing"},name=${LOG_PORT}`],
    ["-device", `virtconsole,nr=3,chardev=${spec.init === null ? "nothing" : WORKLOAD}`],
    ...spec.devices.map((address): [string, string] => ["-device", `vfio-pci,host=${address}`]),
    ["-device", "virtio-rng-device"],
    ["-device", "virtio-balloon-device,free-page-reporting=on"],
    ["-qmp", `unix:${escape(qmpSocket(spec.runDir))},server=on,wait=off`],
  ];
  // A workload's machine ends with it, so a reset is its end as well: the kernel's, in a panic.
  const reset = spec.init === null && !spec.own ? ["-no-reboot"] : [];
  const waits = spec.from?.own || spec.from?.paused || arrives ? ["-S", ...(arrives ? ["-incoming", "defer"] : [])] : [];
  return [...drop, QEMU, "-nodefaults", "-no-user-config", "-no-shutdown", ...reset, ...waits, ...options.flat()];
}

export const IMAGE_NODE = "image";
export const DISK_NODE = "disk";
export function volumeNode(place: number): string {
  return `volume${place}`;
}

/** The descriptors that it is started with, if it goes on from another. */
const MEMORY_FD = 3;
const DEVICES_FD = 4;

/** As QEMU calls it. */
export function devicesUri(): string {
  return `fd:${DEVICES_FD}`;
}

/**
 * The RAM, where it is not simply QEMU's own. The daemon of a virtiofs reads and writes it, so that it is shared with it.
 * Whoever goes on from another maps what others map as well; with pages of its own to come,
 * it waits to be told of its devices, some of which look into the RAM.
 */
function memoryOptions({ folders: list, memoryMib, from }: VmSpec, arrives?: Arrives): [string, string][] {
  // Called as it is where it comes from.
  if (arrives && !arrives.boots)
    return [
      ["-object", `memory-backend-ram,id=ram,size=${memoryMib}M`],
      ["-global", "migration.send-configuration=off"],
    ];
  if (from)
    return [
      ["-object", `memory-backend-file,id=ram,size=${memoryMib}M,mem-path=/proc/self/fd/${MEMORY_FD},share=off`],
      ["-global", "migration.send-configuration=off"],
      ["-incoming", from.own ? "defer" : devicesUri()],
    ];
  return list.length ? [["-object", `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`]] : [];
}

/** virtiofs speaks no legacy virtio. */
function folders({ folders: list, runDir }: VmSpec): [string, string][] {
  if (!list.length) return [];
  return [
    ["-global", "virtio-mmio.force-legacy=false"],
    ...list.flatMap((_, place): [string, string][] => [
      ["-chardev", `socket,id=folder${place},path=${escape(folderSocket(runDir, place))}`],
      ["-device", `vhost-user-fs-device,chardev=folder${place},tag=${folderTag(place)}`],
    ]),
  ];
}

function disk(id: string, file: string, readonly: boolean): [string, string][] {
  const mode = `read-only=${readonly ? "on" : "off"},discard=unmap`;
  const source = `file.driver=file,file.filename=${escape(file)},file.locking=off,file.discard=unmap`;
  return [
    ["-blockdev", `driver=raw,node-name=${id},${mode},${source}`],
    ["-device", `virtio-blk-device,drive=${id}`],
  ];
}

/** A comma ends an option's value; doubled it stands for itself. */
export function escape(path: string): string {
  return path.replaceAll(",", ",,");
}
