/** A tar archive as the content of a volume: unpacked into a file system of our own making, which then takes the old one's place. */
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { HyperlaneError } from "#contract/errors.ts";
import { run, runFed } from "#agent/host/run.ts";
import { unpackerFor } from "#agent/images/unpack.ts";
import { through } from "#oci/through.ts";
import { format } from "./storage.ts";

const importFile = (path: string): string => `${path}.import`;

export function dropImport(path: string): void {
  for (const left of [importFile(path), `${importFile(path)}.new`]) rmSync(left, { force: true });
}

/**
 * path: the volume's file. work: a folder for this. The archive may be packed with gzip or zstd; it must end as archives
 * do, so that one that was cut off is refused and leaves the volume as it was.
 */
export async function importArchive(
  path: string,
  id: string,
  mib: number,
  work: string,
  archive: AsyncIterable<Uint8Array>,
): Promise<void> {
  const next = importFile(path);
  const mounted = `${work}/import-${id}`;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => dropImport(path));
  await format(next, id, mib, 0);
  mkdirSync(mounted, { recursive: true, mode: 0o700 });
  await run(["mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noexec", next, mounted]);
  const unmount = async (): Promise<void> => void (await run(["umount", mounted]));
  await unpack(mounted, archive).finally(unmount);
  await run(["sync", "--", next]);
  renameSync(next, path);
}

async function unpack(into: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const out = openSync("/dev/null", "w");
  const attributes = ["--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"];
  try {
    const { ended, stderr } = await runFed(["tar", "-x", "-f", "-", "-C", into, ...attributes], await unpacked(archive), out);
    if (ended === "exit 0") return;
    const why = stderr.trim().split("\n").slice(0, 2).join("; ");
    if (/No space left|Wrote only/.test(stderr))
      throw new HyperlaneError("NO_SPACE", "The archive holds more than the volume has room for.", {
        hint: "Make the volume larger: --size",
      });
    throw new HyperlaneError("INVALID", `The archive cannot be unpacked: ${why || ended}`);
  } catch (thrown) {
    if (thrown instanceof HyperlaneError) throw thrown;
    throw new HyperlaneError("INVALID", `The archive cannot be unpacked: ${(thrown as Error).message}`, { cause: thrown });
  } finally {
    closeSync(out);
  }
}

async function unpacked(archive: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const pieces = archive[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  for (let next = await pieces.next(); head.length < 4 && !next.done; next = head.length < 4 ? await pieces.next() : next)
    head = Buffer.concat([head, next.value]);
  const whole = async function* (): AsyncGenerator<Uint8Array> {
    yield head;
    yield* { [Symbol.asyncIterator]: () => pieces };
  };
  const unpacker = unpackerFor(Buffer.concat([head, Buffer.alloc(4)]));
  return unpacker ? through(whole(), unpacker) : whole();
}

/** What an agent that was killed in the middle has left mounted below a folder. */
export async function unmountBelow(folder: string): Promise<void> {
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(`${folder}/`));
  for (const point of points.reverse())
    await run(["umount", "--lazy", point.replace(/\\(\d{3})/g, (_, o) => String.fromCharCode(parseInt(o, 8)))]);
}
