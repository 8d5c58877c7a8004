/** Files in and out as a tar stream. What comes from a machine is not trusted: nothing is written outside the target. */
import {
  createReadStream,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  createWriteStream,
} from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { HyperlaneError } from "#contract/errors.ts";
import type { Command, Context } from "#cli/command.ts";
import { openCopy, type CopyRequest } from "#sdk/copy.ts";

export const cp: Command = {
  name: "cp",
  usage: "vps cp FROM TO",
  summary: "Copy files into a machine, or out of it",
  examples: [
    "vps cp ./app api-prod:/srv/",
    "vps cp api-prod:/var/log/syslog .",
    "tar c . | vps cp - api-prod:/srv     # - is a tar archive on stdin or stdout",
  ],
  args: [2, 2],
  flags: { archive: { type: "boolean", short: "a", help: "Keep owners, by number" } },
  async run(ctx) {
    const [from, to] = ctx.args.map(parse) as [Place, Place];
    if ((from.machine === undefined) === (to.machine === undefined))
      throw new HyperlaneError("USAGE", "One of FROM and TO must be NAME:/PATH, the other a path here.");
    const owners = ctx.flags.archive === true;
    if (from.path === "-") await passIn(ctx, to.machine!, to.path, owners);
    else if (to.path === "-") return await passOut(ctx, from.machine!, from.path);
    else if (from.machine === undefined) await copyIn(ctx, from.path, to.machine!, to.path, owners);
    else await copyOut(ctx, from.machine, from.path, to.path, owners);
    ctx.out.done(`Copied ${ctx.args[0]} to ${ctx.args[1]}`);
  },
};

type Copy = Awaited<ReturnType<typeof openCopy>>;
type Place = { machine?: string; path: string };

function parse(text: string): Place {
  const match = /^([a-z][a-z0-9-]*):(.*)$/s.exec(text);
  if (!match) return { path: text };
  if (!match[2]!.startsWith("/"))
    throw new HyperlaneError("INVALID", `"${match[2]}" must be an absolute path in the machine.`, { field: "path" });
  return { machine: match[1]!, path: match[2]! };
}

/** An archive as it is. */
async function passIn({ client }: Context, machine: string, to: string, owners: boolean): Promise<void> {
  await feed(await startCopy(client, { machine, direction: "in", path: to, owners }), process.stdin);
}

/** To its end, or to that of the session. */
async function feed(session: Copy, archive: AsyncIterable<unknown>): Promise<void> {
  const feeding = (async () => {
    for await (const bytes of archive) await session.write(bytes as Buffer);
    session.end();
  })();
  await Promise.race([feeding, session.exit]);
  await session.exit;
}

async function passOut({ client, out }: Context, machine: string, from: string): Promise<void> {
  await (
    await startCopy(client, { machine, direction: "out", path: from }, (bytes) => out.raw(bytes))
  ).exit;
}

async function copyIn({ client }: Context, from: string, machine: string, to: string, owners: boolean): Promise<void> {
  if (!existsSync(from)) throw new HyperlaneError("NOT_FOUND", `There is no "${from}" here.`, { hint: "Check the path." });
  const { pack } = await import("tar-stream");
  const archive = pack();
  const session = await startCopy(client, { machine, direction: "in", path: to, owners });
  const feeding = feed(session, archive);
  feeding.catch(() => {});
  await addToArchive(archive, from, basename(resolve(from)));
  archive.finalize();
  await feeding;
}

async function addToArchive(archive: import("tar-stream").Pack, path: string, name: string): Promise<void> {
  const s = lstatSync(path);
  const head = { name, mode: s.mode & 0o7777, mtime: s.mtime, uid: s.uid, gid: s.gid };
  if (s.isSymbolicLink()) archive.entry({ ...head, type: "symlink", linkname: readlinkSync(path) });
  else if (s.isDirectory()) {
    archive.entry({ ...head, type: "directory" });
    for (const child of readdirSync(path)) await addToArchive(archive, join(path, child), `${name}/${child}`);
  } else if (s.isFile()) {
    const entry = archive.entry({ ...head, size: s.size });
    await pipeline(createReadStream(path), entry);
  }
}

async function copyOut({ client }: Context, machine: string, from: string, to: string, owners: boolean): Promise<void> {
  const { extract } = await import("tar-stream");
  const into = existsSync(to) && statSync(to).isDirectory();
  if (!into && !existsSync(dirname(resolve(to))))
    throw new HyperlaneError("NOT_FOUND", `There is no directory "${dirname(to)}" here.`, { hint: "Make it first." });
  const reader = extract();
  const session = await startCopy(client, { machine, direction: "out", path: from }, (bytes) => reader.write(bytes));
  void session.exit.then(
    () => reader.end(Buffer.alloc(0)),
    (e) => reader.destroy(e),
  );
  const root = resolve(to);
  for await (const entry of reader) {
    const { name, type = "file", mode = 0o644, linkname = "", uid = 0, gid = 0 } = entry.header;
    const target = safeTarget(root, into ? name : name.split("/").slice(1).join("/"));
    if (type === "directory") mkdirSync(target, { recursive: true, mode: (mode & 0o777) | 0o700 });
    else if (type === "symlink") {
      rmSync(target, { force: true });
      symlinkSync(linkname, target);
    } else if (type === "file") {
      rmSync(target, { force: true });
      await pipeline(entry, createWriteStream(target, { mode: mode & 0o777, flags: "wx" }));
    }
    if (owners) lchownSync(target, uid, gid);
    if (type !== "file") entry.resume();
  }
  await session.exit;
}

/** Inside `root`, and not through a link that an earlier entry made. */
export function safeTarget(root: string, name: string): string {
  const target = resolve(root, name);
  const refuse = (): never => {
    throw new HyperlaneError("INVALID", `The machine sent a path outside the target: "${name}".`, {
      hint: "Nothing outside was written. Look into that machine.",
    });
  };
  if (target !== root && !target.startsWith(root + sep)) refuse();
  for (let at = dirname(target); at.length > root.length; at = dirname(at))
    if (lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink()) refuse();
  return target;
}

async function startCopy(client: Context["client"], asked: CopyRequest, data?: (bytes: Uint8Array) => void): Promise<Copy> {
  const failed = (why: string): HyperlaneError =>
    new HyperlaneError("FAILED", `The copy failed in the machine: ${why}.`, {
      hint: "Check the path there: `vps exec NAME -- ls -la PATH`.",
    });
  return await openCopy(client(), asked, failed, data);
}
