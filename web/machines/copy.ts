/** Files into a machine and out of it, as a tar stream over a live one. */
import { createTarDecoder, createTarPacker } from "modern-tar";
import { HyperlaneError } from "#contract/errors.ts";
import { openCopy } from "#sdk/copy.ts";
import { client } from "../data/client.ts";

/** A file as it is to be called in the machine, below the folder it goes to. */
export type Outgoing = { name: string; file: File };

/** done: bytes that the machine has taken. Resolves once all is there. Throws what the machine says against it. */
export async function copyIn(machine: string, folder: string, files: readonly Outgoing[], done: (bytes: number) => void): Promise<void> {
  const { readable, controller } = createTarPacker();
  const packing = pack(controller, files);
  let sent = 0;
  const copy = await openCopy(client, { machine, direction: "in", path: folder }, failed);
  const feeding = (async () => {
    for await (const bytes of readable) {
      await copy.write(bytes);
      done((sent += bytes.length));
    }
    await packing;
    copy.end();
  })();
  await Promise.race([feeding, copy.exit]).finally(() => feeding.catch(() => {}));
  await copy.exit;
}

async function pack(controller: ReturnType<typeof createTarPacker>["controller"], files: readonly Outgoing[]): Promise<void> {
  try {
    for (const { name, file } of files) {
      const entry = controller.add({ name, size: file.size, mode: 0o644, mtime: new Date(file.lastModified) });
      await file.stream().pipeTo(entry);
    }
    controller.finalize();
  } catch (thrown) {
    controller.error(thrown);
  }
}

/** One file as it is; a folder as an archive. done: bytes so far. */
export async function copyOut(machine: string, path: string, done: (bytes: number) => void): Promise<{ name: string; blob: Blob }> {
  const parts: BlobPart[] = [];
  let got = 0;
  const copy = await openCopy(client, { machine, direction: "out", path }, failed, (bytes) => {
    parts.push(bytes.slice());
    done((got += bytes.length));
  });
  await copy.exit;
  const archive = new Blob(parts, { type: "application/x-tar" });
  const alone = await onlyFile(archive);
  const base = path.replace(/\/+$/, "").split("/").at(-1) || machine;
  return alone ? { name: base, blob: alone } : { name: `${base}.tar`, blob: archive };
}

/** The file in it, where that is all there is. */
async function onlyFile(archive: Blob): Promise<Blob | undefined> {
  let only: Blob | undefined;
  for await (const { header, body } of archive.stream().pipeThrough(createTarDecoder())) {
    if (only || header.type !== "file") return undefined;
    only = await new Response(body).blob();
  }
  return only;
}

function failed(why: string): HyperlaneError {
  return new HyperlaneError("FAILED", `Cannot copy: ${why}.`.replace(/\.\.$/, "."), { hint: "Check the path." });
}
