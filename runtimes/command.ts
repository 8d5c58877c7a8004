/** What the command lines of VMMs have in common, and what their folders hold. Pure. */
import type { VmSpec } from "./driver.ts";

/**
 * What a VMM is told of its files, where what it saves of itself tells of them as well: names in its own folder, in which it works. So that
 * goes on in another folder, on another node.
 */
export const OWN = { image: "image", disk: "disk", console: "console", vsock: "vsock.sock", empty: "empty" } as const;

/** What a place for a volume holds while it is free. */
export function emptyFile(runDir: string): string {
  return `${runDir}/${OWN.empty}`;
}
export function folderSocket(runDir: string, place: number): string {
  return `${runDir}/folder${place}.sock`;
}

/** As the kernel and init see them: the folders of the host, by tag. */
export function folderTag(place: number): string {
  return String.fromCharCode(65 + place);
}

/**
 * setpriv drops to the machine's own user; the mask keeps its files from others. kvmGid: the group that may use /dev/kvm; root's
 * is handed to nobody.
 * pins: all of a guest's RAM stays where a device can write to it.
 */
export function asNobody(uid: number, kvmGid: number | null, pins = false): string[] {
  return [
    ...(pins ? ["prlimit", "--memlock=unlimited:unlimited", "--"] : []),
    "setpriv",
    `--reuid=${uid}`,
    `--regid=${uid}`,
    !kvmGid ? "--clear-groups" : `--groups=${kvmGid}`,
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
    "--",
  ];
}

/** What its VMM boots. */
export function bootsFrom({ own, kernel, initramfs }: Pick<VmSpec, "own" | "kernel" | "initramfs">): {
  kernel: string;
  initramfs: string | null;
} {
  return own ?? { kernel, initramfs };
}

/** Of a VMM that has a vsock and no virtio-serial: where its guest is found, and where it finds us (guest/boot.c). */
export function vsockSocket(runDir: string): string {
  return `${runDir}/${OWN.vsock}`;
}
/**
 * console: the serial port. `quiet` keeps the kernel's banner off it: under emulation each character costs.
 * vmm: a word that init is handed where the VMM is none with a virtio-serial (guest/init.h). tsc_early_khz: without it an emulated microvm may never finish calibrating its clock.
 */
export function kernelCommandLine(spec: Pick<VmSpec, "tscKhz"> & Partial<Pick<VmSpec, "own">>, vmm?: "resets" | "vsock"): string {
  const tsc = spec.tscKhz ? [`tsc_early_khz=${spec.tscKhz}`] : [];
  const reboot = vmm === undefined ? "reboot=t" : "reboot=k";
  if (spec.own) return ["console=ttyS0", "root=/dev/vda", "rw", "net.ifnames=0", reboot, "panic=1", ...tsc, spec.own.args].join(" ");
  return [
    "console=ttyS0",
    "quiet",
    "loglevel=4",
    ...tsc,
    "i8042.noaux",
    "i8042.nokbd",
    "net.ifnames=0",
    "random.trust_cpu=on",
    reboot,
    "panic=1",
    // init reports through the kernel's log, which would else drop all but a few lines.
    "printk.devkmsg=on",
    "systemd.show_status=0",
    ...(vmm === undefined ? [] : [vmm]),
  ].join(" ");
}
