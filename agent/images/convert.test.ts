/**
 * The converter against the peers: layers applied by umoci and by us give the same tree, seen through the kernel's own
 * EROFS. And hostile layers, whose worst is an error.
 */
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { pack, type Header } from "tar-stream";
import { openFileSystems, openImages } from "./store.ts";
import { createTarReader, type TarEntry } from "./tar.ts";
import { runFed } from "#agent/host/run.ts";
import { tarOf, writeLayout } from "#tests/oci/peers.ts";

const dir = mkdtempSync(`${tmpdir()}/hl-convert-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const ROOT = `${import.meta.dirname}/../..`;
const CONVERTER = [process.execPath, `${ROOT}/main.ts`, "hyperlane", "convert"];
const sha = (bytes: Uint8Array): string => `sha256:${new Bun.CryptoHasher("sha256").update(bytes as never).digest("hex")}`;
let count = 0;

type Made = { path: string; error?: string };
/** Layers bottom to top, as tar archives, through the real converter process. */
async function convert(layers: Buffer[], squeeze: (b: Buffer) => Buffer = (b) => gzipSync(b, { level: 1 }), limits = {}): Promise<Made> {
  const packed = layers.map(squeeze);
  const request = {
    id: "test",
    layers: layers.map((l, i) => ({ digest: sha(packed[i]!), diffId: sha(l), size: packed[i]!.length })),
    maxBytes: 2 ** 40,
    maxEntries: 100_000,
    compress: true,
    ...limits,
  };
  const path = `${dir}/image-${++count}.erofs`;
  for (const keepAll of [false, true]) {
    const fd = openSync(path, "w");
    const input = (async function* () {
      yield Buffer.from(`${JSON.stringify({ ...request, keepAll })}\n`);
      for (const p of packed.toReversed()) yield p;
    })();
    const { stderr } = await runFed(CONVERTER, input, fd).finally(() => closeSync(fd));
    const reply = JSON.parse(stderr.trim().split("\n").at(-1)!) as { again?: true; error?: { message: string } };
    if (reply.error) return { path, error: reply.error.message };
    if (!reply.again) return { path };
  }
  throw new Error("it asked for everything twice");
}

const MOUNTS =
  process.getuid?.() === 0 && readFileSync("/proc/filesystems", "utf8").includes("erofs")
    ? null
    : "it mounts EROFS, which needs root and a kernel that has it";
const PEER = MOUNTS ?? (Bun.which("umoci") ? null : "umoci is not installed");
if (PEER) console.log(`SKIP agent/images/convert against umoci: ${PEER}`);

async function sh(script: string, cwd = dir): Promise<string> {
  const child = Bun.spawn(["bash", "-ec", script], { cwd, stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw new Error(`${script.slice(0, 200)}: ${err}`);
  return out;
}

/** All that find and getfattr can say of a tree, and its contents' digests. */
async function describe(root: string): Promise<string> {
  const find = await sh("find . -printf '%P\\t%y\\t%m\\t%U:%G\\t%s\\t%l\\t%n\\t%T@\\n'", root);
  // A directory's size and link count are each file system's own business.
  const lines = find
    .split("\n")
    .map((l) => l.split("\t"))
    .map((f) => (f[1] === "d" ? [f[0], f[1], f[2], f[3], f[5], f[7]] : f).join("\t"));
  const contents = await sh("find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum", root);
  const devices = await sh("find . '(' -type c -o -type b ')' -print0 | LC_ALL=C sort -z | xargs -0 -r stat -c '%n %t:%T'", root);
  const xattrs = await sh("getfattr -R -P -h -d -e hex -m - . 2>/dev/null || true", root);
  return [...lines.sort(), contents, devices, xattrs.split("\n\n").sort().join("\n")].join("\n");
}

async function mounted<T>(path: string, work: (at: string) => Promise<T>): Promise<T> {
  const at = `${path}.mnt`;
  mkdirSync(at);
  await sh(`mount -t erofs -o loop,ro ${path} ${at}`);
  try {
    return await work(at);
  } finally {
    await sh(`umount ${at}`);
  }
}

/** Builds a layer in a directory with a shell, as root. */
async function layer(script: string): Promise<Buffer> {
  const at = `${dir}/layer-${++count}`;
  mkdirSync(at);
  await sh(script, at);
  // Whole seconds: the peer keeps no more.
  await sh("find . -exec touch -h -d @1700000000 {} +", at);
  return await tarOf(at);
}

async function sameAsUmoci(layers: Buffer[]): Promise<void> {
  const layout = `${dir}/layout-${++count}`;
  writeLayout(layout, "t", layers, {});
  await sh(`umoci unpack --image ${layout}:t ${layout}.bundle`);
  // umoci dates the directories that it touches anew; their times are compared where no peer meddles, below.
  const undated = (text: string): string => text.replace(/^([^\t]*\td\t.*)\t[\d.]+$/gm, "$1");
  const theirs = undated(await describe(`${layout}.bundle/rootfs`));
  for (const compress of [true, false]) {
    const made = await convert(layers, undefined, { compress });
    expect(made.error).toBeUndefined();
    expect(undated(await mounted(made.path, describe))).toBe(theirs);
  }
}

test.skipIf(PEER !== null)(
  "kinds of files, attributes, hard links, capabilities, long and odd names",
  async () => {
    const odd = "f=$(printf 'n\\377\\001 \\342\\202\\254'); echo x > \"$f\"; ln -s \"$f\" 'to odd'";
    await sameAsUmoci([
      await layer(`
      mkdir -p etc usr/bin var/empty; echo root > etc/passwd; chmod 600 etc/passwd; chown 12:34 etc/passwd
      cp /bin/true usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping; chmod 4755 usr/bin/ping
      ln etc/passwd etc/hard; ln -s ../etc/passwd usr/link; ln -s "$(printf '%0.sx' {1..3000})" far 2>/dev/null || ln -s "$(printf '%0.sx' {1..1000})" far
      mkfifo pipe; mknod null c 1 3; mknod disk b 259 70000; setfattr -n user.note -v 'some text' etc/passwd; setfattr -n trusted.x -v y etc
      mkdir -m 1777 tmp; ${odd}; mkdir -p "$(printf 'd%0.s' {1..200})/$(printf 'e%0.s' {1..200})"; touch -- -dash .hidden '..three'
      for i in $(seq 700); do echo $i > "var/file-with-a-rather-long-name-$i"; done`),
    ]);
  },
  60_000,
);

test.skipIf(PEER !== null)(
  "contents of every size around the blocks, packed and not",
  async () => {
    const sizes = [
      0, 1, 31, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 65535, 65536, 65537, 1048575, 1048576, 1048577, 3000000,
    ];
    await sameAsUmoci([
      await layer(`for n in ${sizes.join(" ")}; do
      head -c $n /dev/urandom > random-$n; head -c $n /dev/zero > zero-$n
      yes "line $n of something that repeats" | head -c $n > text-$n || true
      { head -c $((n / 2)) /dev/urandom; head -c $((n - n / 2)) /dev/zero; } > mixed-$n; done`),
    ]);
  },
  60_000,
);

test.skipIf(PEER !== null)(
  "layers over layers: white-outs, opaque directories, files for directories and back",
  async () => {
    await sameAsUmoci([
      await layer(
        "mkdir -p a/b c/d keep opaque/sub file-dir; echo 1 > a/b/f; echo 2 > c/d/f; echo 3 > gone; echo 4 > keep/f; echo 5 > opaque/old; echo 6 > opaque/sub/old; echo 7 > file-dir/x; echo 8 > dir-file",
      ),
      await layer(
        "mkdir -p a opaque; touch .wh.gone a/.wh.b opaque/.wh..wh..opq; echo new > opaque/new; echo now-file > file-dir; mkdir dir-file; echo in > dir-file/in; echo again > keep/f 2>/dev/null || { mkdir keep; echo again > keep/f; }",
      ),
      await layer("mkdir -p a/b c; echo back > a/b/g; touch c/.wh.d; ln -s keep to-keep; echo over > dir-top; mkdir -m 700 opaque"),
      await layer("mkdir -p opaque; echo third > opaque/third; ln opaque/third opaque/hard; touch .wh.dir-top"),
    ]);
  },
  60_000,
);

test.skipIf(PEER !== null)(
  "forty layers of random changes",
  async () => {
    const names = ["a", "b", "c"];
    const path = fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 });
    const change = fc.record({
      path,
      kind: fc.constantFrom("file", "dir", "link", "gone", "opaque"),
      text: fc.stringMatching(/^[a-z]{1,20}$/),
    });
    const [sample] = fc.sample(fc.array(fc.array(change, { minLength: 1, maxLength: 4 }), { minLength: 40, maxLength: 40 }), {
      numRuns: 1,
      seed: 7,
    });
    const layers: Buffer[] = [];
    for (const changes of sample!) {
      const script = changes.map(({ path: parts, kind, text }) => {
        const [parent, name] = [parts.slice(0, -1).join("/") || ".", parts.at(-1)!];
        const at = `${parent}/${name}`;
        const what = {
          file: `[ -d ${at} ] || echo ${text} > ${at}`,
          dir: `mkdir -p ${at}`,
          link: `[ -e ${at} ] || ln -s ${text} ${at}`,
          gone: `touch ${parent}/.wh.${name}; rm -rf ${at}`,
          opaque: `mkdir -p ${at} && touch ${at}/.wh..wh..opq`,
        }[kind]!;
        return `if mkdir -p ${parent} 2>/dev/null && [ ! -L ${parent} ]; then ${what}; fi || true`;
      });
      layers.push(await layer(script.join("\n") || "true"));
    }
    await sameAsUmoci(layers);
  },
  120_000,
);

test.skipIf(MOUNTS !== null)(
  "sparse files in every form tar has, zstd and plain layers, dates to the nanosecond",
  async () => {
    const at = `${dir}/sparse`;
    mkdirSync(at);
    await sh(
      "truncate -s 8M hole; echo end >> hole; truncate -s 1M empty; echo start > begin; truncate -s 500K begin; touch -d '2020-02-02 02:02:02.123456789 UTC' hole; touch -d '1960-01-01 00:00:00.5 UTC' empty",
      at,
    );
    const want = await sh("sha256sum hole empty begin", at);
    for (const [format, squeeze] of [
      [["--format=gnu"], undefined],
      [["--format=pax", "--sparse-version=0.0"], (b: Buffer) => zstdCompressSync(b)],
      [["--format=pax", "--sparse-version=0.1"], (b: Buffer) => b],
      [["--format=pax", "--sparse-version=1.0"], undefined],
    ] as const) {
      const tar = Buffer.from(Bun.spawnSync(["tar", "-S", ...format, "--numeric-owner", "-cf", "-", "."], { cwd: at }).stdout);
      const made = await convert([tar], squeeze);
      expect([format, made.error]).toEqual([format, undefined]);
      await mounted(made.path, async (root) => {
        expect(await sh("sha256sum hole empty begin", root)).toBe(want);
        if (format[0] === "--format=pax")
          expect((await sh("stat -c %.9Y hole empty", root)).trim().split("\n")).toEqual(["1580608922.123456789", "-315619199.500000000"]);
      });
      expect(statSync(made.path).size).toBeLessThan(200_000);
    }
  },
  60_000,
);

/** A layer of entries that no well-meaning builder makes. */
async function hostile(entries: (Partial<Header> & { name: string; body?: string })[]): Promise<Buffer> {
  const out = pack();
  const bytes = new Response(out as never).arrayBuffer();
  for (const { body, ...header } of entries) out.entry({ mtime: new Date(0), ...header } as Header, body ?? "");
  out.finalize();
  return Buffer.from(await bytes);
}

test("what leads out of the image is refused or stays inside, and the host sees none of it", async () => {
  const outside = `${dir}/outside`;
  const up = "../".repeat(40);
  const refused = [
    [{ name: `${up}tmp/x`, body: "x" }],
    [
      { name: "ok", body: "x" },
      { name: "link", type: "link" as const, linkname: `${up}etc/passwd` },
    ],
    [{ name: "dir", type: "link" as const, linkname: "." }],
    [
      { name: "loop", type: "symlink" as const, linkname: "loop" },
      { name: "loop/x", body: "x" },
    ],
    [
      { name: "file", body: "x" },
      { name: "file/x", body: "x" },
    ],
    [{ name: "missing", type: "link" as const, linkname: "nowhere" }],
  ];
  for (const entries of refused)
    expect([entries[0]!.name, (await convert([await hostile(entries)])).error]).toEqual([
      entries[0]!.name,
      expect.stringMatching(/no good/),
    ]);
  const inside = [
    { name: "abs", type: "symlink" as const, linkname: outside },
    { name: "abs/written", body: "x" },
    { name: "up", type: "symlink" as const, linkname: `${up}..${dir}` },
    { name: "up/outside2", body: "x" },
    { name: `/absolute${outside}`, body: "x" },
  ];
  expect((await convert([await hostile(inside)])).error).toBeUndefined();
  for (const path of [outside, `${dir}/outside2`, "/absolute"]) expect([path, existsSync(path)]).toEqual([path, false]);
});

test("bombs in size and count end in an error; a wrong digest and a cut-off archive as well", async () => {
  const zeros = await hostile([{ name: "zeros", body: "\0".repeat(5_000_000) }]);
  expect((await convert([zeros], undefined, { maxBytes: 4_000_000 })).error).toMatch(/more than is allowed/);
  const many = await hostile(Array.from({ length: 200 }, (_, i) => ({ name: `f${i}` })));
  expect((await convert([many], undefined, { maxEntries: 100 })).error).toMatch(/too many files/);
  expect((await convert([zeros.subarray(0, 4_000_000)])).error).toMatch(/cut off/);
  expect(
    (
      await convert([zeros], undefined, {
        layers: [{ digest: sha(Buffer.from("x")), diffId: sha(zeros), size: gzipSync(zeros, { level: 1 }).length }],
      })
    ).error,
  ).toMatch(/not what its digest says/);
  expect((await convert([Buffer.from("no tar at all".repeat(100))])).error).toMatch(/no good tar/);
}, 30_000);

test("any bytes: an error or entries, never more", () => {
  const read = (bytes: Buffer, cut: number): string | TarEntry[] => {
    const entries: TarEntry[] = [];
    const reader = createTarReader({ entry: (e) => void entries.push(e), data: () => {}, end: () => {} });
    try {
      for (let at = 0; at < bytes.length; at += cut) reader.push(bytes.subarray(at, at + cut));
      reader.finish();
      return entries;
    } catch (thrown) {
      return (thrown as Error).message;
    }
  };
  const good = Buffer.from(Bun.spawnSync(["tar", "-C", import.meta.dirname, "--format=pax", "-cf", "-", "tar.ts", "tree.ts"]).stdout);
  expect((read(good, 100_000) as TarEntry[]).map((e) => e.path)).toEqual(["tar.ts", "tree.ts"]);
  fc.assert(
    fc.property(
      fc.array(fc.record({ at: fc.nat(4096), byte: fc.nat(255) }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 5000 }),
      (flips, cut) => {
        const bytes = Buffer.from(good);
        for (const { at, byte } of flips) bytes[at % bytes.length] = byte;
        const said = read(bytes, cut);
        // However it is cut into pieces, it means the same.
        expect(said).toEqual(read(bytes, bytes.length));
        if (typeof said === "string") expect(said).toMatch(/no good tar/);
      },
    ),
  );
});

test("the store: two that bring one image are one, a failed one leaves nothing, a left-over is swept at start", async () => {
  const at = `${dir}/store`;
  mkdirSync(at);
  writeFileSync(`${at}/half.erofs.new`, "x");
  const files = openFileSystems(at, CONVERTER, true);
  const images = openImages(files, { ...files, list: () => [] }, 2);
  expect(images.list()).toEqual([]);
  const bytes = gzipSync(await hostile([{ name: "f", body: "x" }]));
  const good = {
    rootfs: "a".repeat(64),
    keepAll: false,
    layers: [{ digest: sha(bytes), diffId: sha(await hostile([{ name: "f", body: "x" }])), size: bytes.length }],
  };
  let sent = 0;
  const blobs = () =>
    (async function* () {
      sent++;
      yield bytes;
    })();
  await Promise.all([images.receive(good, blobs()), images.receive(good, blobs()), images.receive(good, blobs())]);
  expect([sent, images.list().map((i) => i.rootfs)]).toEqual([1, ["a".repeat(64)]]);
  const bad = { ...good, rootfs: "b".repeat(64), layers: [{ ...good.layers[0]!, diffId: sha(Buffer.from("other")) }] };
  const waiting = images.arrived(bad.rootfs, new AbortController().signal);
  for (const end of await Promise.allSettled([images.receive(bad, blobs()), waiting]))
    expect(String((end as PromiseRejectedResult).reason)).toMatch(/not what its digest says/);
  expect(images.list().length).toBe(1);
});
