/** A machine's identity and addresses as the records of a CONFIG frame. The format is specified in guest/config.c. */

export type GuestConfig = {
  root: Root;
  /** null: it has no network yet. */
  network: GuestNetwork | null;
  hostname: string;
  /** Text of /etc/resolv.conf; null: it comes as a file. */
  resolvConf: string | null;
  clockNs: bigint;
  entropy: Buffer;
  /** What is to be mounted, and what no longer is, as guest/volume.c reads it. */
  mounts: string[];
  unmounts: string[];
  /** Files in init's own directory, which is on no disk. */
  files: { name: string; mode: number; content: string }[];
};

/** init: the image's own; null: it has none. folders: some of the host are to be mounted. copied: the disk was another machine's. readOnly: once the workload is about to run. */
type Root = { init: string | null; folders: boolean; copied: boolean; readOnly?: boolean };
type GuestNetwork = {
  mac: string;
  address6: string;
  prefix6: number;
  gateway6: string;
  address4: string;
  prefix4: number;
  gateway4: string;
  /** It knows itself under others, which it is to forget. */
  anew?: boolean;
};

export function encodeConfig(c: GuestConfig): Buffer {
  const clock = Buffer.alloc(8);
  clock.writeBigUInt64LE(c.clockNs);
  return Buffer.concat([
    // Before anything that may draw on it.
    record(8, c.entropy),
    rootRecord(c.root),
    record(1, Buffer.from(c.hostname)),
    ...(c.network?.anew ? [record(14, Buffer.alloc(0))] : []),
    ...(c.network ? networkRecords(c.network) : []),
    ...(c.resolvConf === null ? [] : [record(6, Buffer.from(c.resolvConf))]),
    record(7, clock),
    volumeRecords(c),
    ...c.files.map((f) => {
      const mode = Buffer.alloc(2);
      mode.writeUInt16LE(f.mode);
      return record(9, Buffer.concat([mode, Buffer.from(`${f.name}\0${f.content}`)]));
    }),
  ]);
}

/** All that init of a container is told: the rest has been done by then. */
export function encodeContainerConfig(): Buffer {
  return rootRecord({ init: null, folders: false, copied: false });
}

function rootRecord({ init, folders, copied, readOnly = false }: Root): Buffer {
  return record(12, Buffer.from(`${String.fromCharCode((folders ? 1 : 0) | (copied ? 2 : 0) | (readOnly ? 4 : 0))}${init ?? ""}\0`));
}

function networkRecords(n: GuestNetwork): Buffer[] {
  return [
    record(13, Buffer.from(n.mac.split(":").map((byte) => parseInt(byte, 16)))),
    record(2, Buffer.from([...bytes6(n.address6), n.prefix6])),
    record(3, Buffer.from(bytes6(n.gateway6))),
    record(4, Buffer.from([...bytes4(n.address4), n.prefix4])),
    record(5, Buffer.from(bytes4(n.gateway4))),
  ];
}

/** The records that concern volumes alone, for what is attached while the machine runs. */
export function volumeRecords({ mounts, unmounts }: Pick<GuestConfig, "mounts" | "unmounts">): Buffer {
  return Buffer.concat([
    ...unmounts.map((text) => record(11, Buffer.from(`${text}\0`))),
    ...mounts.map((text) => record(10, Buffer.from(`${text}\0`))),
  ]);
}

function record(tag: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(3);
  head.writeUInt8(tag, 0);
  head.writeUInt16LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

export function bytes4(address: string): number[] {
  return address.split(".").map(Number);
}

/** Takes the forms that we make ourselves: groups in hex, at most one "::", no embedded IPv4. */
export function bytes6(address: string): number[] {
  const [left = "", right] = address.split("::");
  const groups = (text: string): number[] => (text ? text.split(":").map((g) => parseInt(g, 16)) : []);
  const head = groups(left);
  const tail = right === undefined ? [] : groups(right);
  const all = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return all.flatMap((g) => [g >> 8, g & 255]);
}
