/**
 * A content-addressed store on disk, in the OCI image layout's form: blobs/sha256/HEX. A blob appears under its name
 * only when it is whole, verified and on the disk; what is still coming in lies below ingest/ and is taken up again.
 * referrers/SUBJECT/MANIFEST is an empty file for each manifest that says it is about another (signatures, SBOMs).
 */
import {
  closeSync,
  createReadStream,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { DIGEST } from "#contract/oci/reference.ts";

export type Blobs = ReturnType<typeof openBlobs>;

const UPLOAD_KEPT_MS = 24 * 3600 * 1000;
/** Whoever was told that a blob is there may count on it for this long, before anything refers to it. */
const GRACE_MS = 10 * 60 * 1000;

export function openBlobs(dir: string) {
  const [blobDir, ingestDir] = [`${dir}/blobs/sha256`, `${dir}/ingest`];
  for (const d of [blobDir, ingestDir]) mkdirSync(d, { recursive: true, mode: 0o700 });
  if (!existsSync(`${dir}/oci-layout`)) writeFileSync(`${dir}/oci-layout`, JSON.stringify({ imageLayoutVersion: "1.0.0" }));

  const openedAt = Date.now();
  const touched = new Map<string, number>();
  const touch = (digest: string): void => void touched.set(digest, Date.now());
  /** What a process before this one promised is told by the file's date. */
  const isPromised = (digest: string, mtimeMs: number): boolean =>
    Date.now() - (touched.get(digest) ?? 0) < GRACE_MS || (mtimeMs < openedAt && Date.now() - mtimeMs < GRACE_MS);

  const path = (digest: string): string => {
    if (!DIGEST.test(digest)) throw new HyperlaneError("INVALID", `"${digest}" is no sha256 digest.`);
    return `${blobDir}/${digest.slice(7)}`;
  };

  const referrersOf = (subject: string): string => `${dir}/referrers/${path(subject).split("/").at(-1)}`;

  return {
    has: (digest: string): boolean => existsSync(path(digest)),
    size: (digest: string): number => statSync(path(digest)).size,
    /** Small ones: manifests and configurations. */
    read(digest: string): Buffer {
      if (!existsSync(path(digest))) throw new HyperlaneError("NOT_FOUND", `There is no blob ${digest}.`);
      return readFileSync(path(digest));
    },
    path,
    /** Somebody is about to refer to it: garbage collection leaves it for now. */
    touch(digest: string): void {
      touch(digest);
      utimesSync(path(digest), new Date(), new Date());
    },
    /** Something refers to them by now, or nobody will. */
    release: (digests: Iterable<string>): void => [...digests].forEach((d) => touched.delete(d)),
    /** Takes bytes that are there in one piece; their digest. */
    put(bytes: Uint8Array): string {
      const digest = digestOf(bytes);
      touch(digest);
      if (existsSync(path(digest))) return digest;
      const coming = `${ingestDir}/${crypto.randomUUID()}`;
      const fd = openSync(coming, "w", 0o600);
      try {
        writeSync(fd, bytes);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(coming, path(digest));
      return digest;
    },
    /** A manifest's word that it is about another, which need not be there yet. */
    refer(subject: string, digest: string): void {
      mkdirSync(referrersOf(subject), { recursive: true, mode: 0o700 });
      writeFileSync(`${referrersOf(subject)}/${digest.slice(7)}`, "");
    },
    unrefer: (subject: string, digest: string): void => rmSync(`${referrersOf(subject)}/${digest.slice(7)}`, { force: true }),
    /** Manifests that are about this one. */
    referrers(subject: string): string[] {
      const there = existsSync(referrersOf(subject)) ? readdirSync(referrersOf(subject)).sort() : [];
      return there.map((hex) => `sha256:${hex}`).filter((digest) => existsSync(path(digest)));
    },
    /** A file being received, found again under the same name after a restart. */
    ingest: (name: string) => openIngest(`${ingestDir}/${name}`, (digest) => (touch(digest), path(digest))),
    hasIngest: (name: string): boolean => existsSync(`${ingestDir}/${name}`),
    /** Removes what `keep` does not name and nobody is about to refer to. The bytes freed. */
    sweep(keep: ReadonlySet<string>): number {
      let freed = 0;
      for (const hex of readdirSync(blobDir)) {
        const { mtimeMs, size } = statSync(`${blobDir}/${hex}`);
        if (keep.has(`sha256:${hex}`) || isPromised(`sha256:${hex}`, mtimeMs)) continue;
        rmSync(`${blobDir}/${hex}`, { force: true });
        freed += size;
      }
      for (const name of readdirSync(ingestDir))
        if (Date.now() - statSync(`${ingestDir}/${name}`).mtimeMs > UPLOAD_KEPT_MS) rmSync(`${ingestDir}/${name}`, { force: true });
      return freed;
    },
  };
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes as never).digest("hex")}`;
}

export type Ingest = ReturnType<typeof openIngest>;

/** Bytes are appended; what was there before counts, and is read again only to be verified. */
function openIngest(file: string, pathOf: (digest: string) => string) {
  const hash = new Bun.CryptoHasher("sha256");
  const before = existsSync(file) ? statSync(file).size : 0;
  const fd = openSync(file, "a", 0o600);
  let size = before;
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  const discard = (): void => {
    close();
    rmSync(file, { force: true });
  };
  return {
    get size(): number {
      return size;
    },
    write(bytes: Uint8Array): void {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      hash.update(bytes as never);
      size += bytes.length;
    },
    close,
    discard,
    /** Takes it in under its digest, which is the answer. One that is not what `expected` says is thrown away. */
    async commit(expected?: string): Promise<string> {
      const allSeen = before === 0 && fstatSync(fd).size === size;
      const digest = allSeen ? `sha256:${hash.digest("hex")}` : await digestOfFile(file);
      if (expected !== undefined && digest !== expected) {
        discard();
        throw new HyperlaneError("CORRUPT", `What was received is not ${expected} but ${digest}.`, { hint: "Try again; it begins anew." });
      }
      fsyncSync(fd);
      close();
      renameSync(file, pathOf(digest));
      return digest;
    },
  };
}

async function digestOfFile(file: string): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const bytes of createReadStream(file, { highWaterMark: 1024 * 1024 })) hash.update(bytes as Buffer);
  return `sha256:${hash.digest("hex")}`;
}
