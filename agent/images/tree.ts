/**
 * Layers merged into one tree, as the OCI image specification (layer.md) and the peers apply them: bottom to top,
 * white-outs and opaque directories take away what is below, a directory over a directory keeps its children.
 * Paths are resolved inside the tree alone, so no `..`, link or absolute name in a layer means anything on the host.
 * Pure: names and attributes only; what a file holds is whoever calls this one's business.
 */
import { HyperlaneError } from "#contract/errors.ts";
import type { TarEntry } from "./tar.ts";

/** One inode. children: of a directory, by name. data: the caller's number for a regular file's contents. */
export type Node = {
  type: Exclude<TarEntry["type"], "link">;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  mtimeNs: number;
  xattrs: TarEntry["xattrs"];
  link: string;
  major: number;
  minor: number;
  data: number;
  nlink: number;
  children: Map<string, Node>;
  /** By name: which layer put it here. */
  from: Map<string, number>;
};
/** data: see Node; -1 for what is no regular file. */
export type LayerEntry = TarEntry & { data: number };

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const META = ".wh..wh.";
const NAME_MAX_BYTES = 255;
const LINKS_MAX = 40;

export function emptyTree(): Node {
  return directory();
}

/** Applies one layer, its entries in the archive's order. */
export function applyLayer(root: Node, entries: Iterable<LayerEntry>, layer: number): void {
  for (const entry of entries) {
    const parts = splitPath(entry.path);
    const name = parts.pop();
    if (name === undefined) {
      if (entry.type === "dir") describe(root, entry);
      continue;
    }
    if (name === OPAQUE) {
      const dir = walk(root, parts, layer, false);
      if (dir) purge(dir, layer);
      continue;
    }
    if (name.startsWith(META)) continue; // bookkeeping of a storage driver
    if (name.startsWith(WHITEOUT)) {
      const dir = walk(root, parts, layer, false);
      const gone = name.slice(WHITEOUT.length);
      if (dir && dir.from.get(gone) !== layer) remove(dir, gone);
      continue;
    }
    if (name.length > NAME_MAX_BYTES) throw malformed(`the name "${name.slice(0, 40)}..." is longer than 255 bytes`);
    put(root, walk(root, parts, layer, true)!, name, entry, layer);
  }
}

function put(root: Node, dir: Node, name: string, entry: LayerEntry, layer: number): void {
  const there = dir.children.get(name);
  if (entry.type === "link") {
    const target = lookup(root, splitPath(entry.link), layer);
    if (!target || target.type === "dir") throw malformed(`"${entry.path}" is a hard link to "${entry.link}", which is no file there`);
    if (target === there) return;
    remove(dir, name);
    target.nlink++;
    return bind(dir, name, target, layer);
  }
  if (there?.type === "dir" && entry.type === "dir") {
    describe(there, entry);
    return bind(dir, name, there, layer);
  }
  remove(dir, name);
  const node: Node = { ...directory(), type: entry.type, nlink: 1 };
  describe(node, entry);
  bind(dir, name, node, layer);
}

function describe(node: Node, e: LayerEntry): void {
  const { mode, uid, gid, mtime, mtimeNs, xattrs, link, major, minor, data } = e;
  Object.assign(node, { mode, uid, gid, mtime, mtimeNs, xattrs, link, major, minor, data });
}

function bind(dir: Node, name: string, node: Node, layer: number): void {
  dir.children.set(name, node);
  dir.from.set(name, layer);
}

function remove(dir: Node, name: string): void {
  const node = dir.children.get(name);
  if (!node) return;
  node.nlink--;
  dir.children.delete(name);
  dir.from.delete(name);
  if (node.type === "dir") for (const child of [...node.children.keys()]) remove(node, child);
}

/** Takes away what is from below, at every depth: what this layer has put there already stays. */
function purge(dir: Node, layer: number): void {
  for (const [name, from] of [...dir.from]) {
    const child = dir.children.get(name)!;
    if (from !== layer) remove(dir, name);
    else if (child.type === "dir") purge(child, layer);
  }
}

function directory(): Node {
  return {
    type: "dir",
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: 0,
    mtimeNs: 0,
    xattrs: new Map(),
    link: "",
    major: 0,
    minor: 0,
    data: -1,
    nlink: 1,
    children: new Map(),
    from: new Map(),
  };
}

/** `a/./b/../c` -> a, c. One that would leave the root is refused, as the peers do. */
export function splitPath(path: string): string[] {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) throw malformed(`the path "${path}" leads out of the image`);
  }
  return parts;
}

/** The directory at these parts, through symbolic links, made where it is missing if asked. */
function walk(root: Node, parts: readonly string[], layer: number, make: boolean): Node | undefined {
  const trail: Node[] = [root];
  const todo = [...parts].reverse();
  let links = 0;
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    const dir = trail.at(-1)!;
    if (part === "..") {
      if (trail.length > 1) trail.pop();
      continue;
    }
    let next = dir.children.get(part);
    if (next?.type === "symlink") {
      if (++links > LINKS_MAX) throw malformed(`too many symbolic links on the way to "${parts.join("/")}"`);
      if (next.link.startsWith("/")) trail.length = 1;
      todo.push(
        ...next.link
          .split("/")
          .filter((p) => p !== "" && p !== ".")
          .reverse(),
      );
      continue;
    }
    if (!next) {
      if (!make) return undefined;
      next = directory();
      bind(dir, part, next, layer);
    }
    if (next.type !== "dir") {
      if (!make) return undefined;
      throw malformed(`"${parts.join("/")}" goes through "${part}", which is no directory`);
    }
    trail.push(next);
  }
  return trail.at(-1);
}

/** What is at these parts; a symbolic link at the end is not followed. */
function lookup(root: Node, parts: string[], layer: number): Node | undefined {
  const name = parts.pop();
  return name === undefined ? root : walk(root, parts, layer, false)?.children.get(name);
}

function malformed(what: string): HyperlaneError {
  return new HyperlaneError("INVALID", `The image is no good: ${what}.`);
}

/**
 * Whether what a lower layer has at a path can be left out, judged from the layers above it. Careful rather than
 * complete: it may keep what turns out hidden, and the few that it hides wrongly (a path that means one place in one
 * layer and another in the next, by way of symbolic links) show when the tree is made: their data is missing.
 */
export function createCover() {
  type Mark = { gone: boolean; opaque: boolean; next: Map<string, Mark> };
  const blank = (): Mark => ({ gone: false, opaque: false, next: new Map() });
  const top = blank();
  const at = (parts: readonly string[]): Mark => {
    let mark = top;
    for (const part of parts) {
      let next = mark.next.get(part);
      if (!next) mark.next.set(part, (next = blank()));
      mark = next;
    }
    return mark;
  };
  return {
    hides(parts: readonly string[]): boolean {
      let mark: Mark | undefined = top;
      for (const part of parts) {
        if (mark.opaque) return true;
        mark = mark.next.get(part);
        if (!mark) return false;
        if (mark.gone) return true;
      }
      return false;
    },
    /** Takes in a whole layer, once everything below it is next. */
    add(entries: Iterable<TarEntry>): void {
      for (const entry of entries) {
        const parts = splitPath(entry.path);
        const name = parts.at(-1);
        if (name === undefined) continue;
        if (name === OPAQUE) at(parts.slice(0, -1)).opaque = true;
        else if (name.startsWith(META)) continue;
        else if (name.startsWith(WHITEOUT)) at([...parts.slice(0, -1), name.slice(WHITEOUT.length)]).gone = true;
        else if (entry.type !== "dir") at(parts).gone = true;
      }
    },
  };
}
