/** guest/frames.c, built with sanitizers, against the vectors it shares with contract/wire/frames.ts and against noise. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import vectors from "#contract/wire/frames.vectors.json";
import { createFrameReader, encodeExec, encodeFrame, encodeSync, SYNC_MAGIC } from "#contract/wire/frames.ts";
import { encodeResize, encodeU32, F } from "#contract/wire/messages.ts";

const dir = mkdtempSync(`${tmpdir()}/hl-frames-`);
const program = `${dir}/frames`;
const nonce = Buffer.from("12345678");
const sync = Buffer.concat([SYNC_MAGIC, nonce]).toString("hex");

beforeAll(async () => {
  const flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  await run(["gcc", ...flags, "-o", program, `${import.meta.dirname}/frames_host.c`]);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(argv: string[], input = ""): Promise<string> {
  const child = Bun.spawn(argv, { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw new Error(`${argv[0]} ended with ${code}: ${err}`);
  return out;
}

/** What init's parser makes of each session. */
async function parsed(sessions: string[][]): Promise<string[]> {
  const out = await run([program], sessions.map((pieces) => `${pieces.join(" ") || "00"}\n`).join(""));
  return out
    .split("\n")
    .slice(0, -1)
    .map((l) => l.trim());
}

test("host to guest: both ends agree on every vector", async () => {
  const made: Record<string, Buffer> = {
    exec: encodeFrame({
      stream: 1,
      type: F.EXEC,
      payload: encodeExec({
        argv: ["sh", "-c", "echo ä"],
        env: ["A=b=c"],
        workdir: "/root",
        user: "root",
        tty: true,
        stdin: true,
        rows: 24,
        cols: 80,
      }),
    }),
    stdin: encodeFrame({ stream: 7, type: F.STDIN, payload: Buffer.from("hello\n") }),
    resize: encodeFrame({ stream: 0xfffffffe, type: F.RESIZE, payload: encodeResize(50, 200) }),
    credit: encodeFrame({ stream: 1, type: F.CREDIT, payload: encodeU32(65536) }),
    eof: encodeFrame({ stream: 1, type: F.EOF, payload: Buffer.alloc(0) }),
  };
  for (const v of vectors.toGuest) if (made[v.name]) expect([v.name, made[v.name]!.toString("hex")]).toEqual([v.name, v.bytes]);
  expect(vectors.toGuest.filter((v) => made[v.name])).toHaveLength(Object.keys(made).length);
  expect(await parsed(vectors.toGuest.map((v) => [sync, v.bytes]))).toEqual(
    vectors.toGuest.map((v) => `S${nonce.toString("hex")} ${v.parsed}`.trim()),
  );
});

test("guest to host: both ends agree on every vector", () => {
  for (const v of vectors.toHost) {
    const reader = createFrameReader(nonce);
    reader.push(Buffer.from(sync, "hex"));
    const read = () =>
      reader
        .push(Buffer.from(v.bytes, "hex"))
        .map((f) => `F${f.stream}:${f.type}:${f.payload.toString("hex")}`)
        .join(" ");
    if (v.parsed === "L") expect(read).toThrow("Malformed frame");
    else expect([v.name, read()]).toEqual([v.name, v.parsed]);
  }
});

const frame = fc.record({
  stream: fc.integer({ min: 1, max: 0xffffffff }),
  type: fc.integer({ min: F.EXEC, max: F.WRITE }),
  payload: fc.uint8Array({ maxLength: 200 }),
});
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });

function cut(bytes: Buffer, at: number[]): string[] {
  const pieces: string[] = [];
  for (let from = 0, i = 0; from < bytes.length; i++) {
    const to = from + at[i % at.length]!;
    pieces.push(bytes.subarray(from, to).toString("hex"));
    from = to;
  }
  return pieces;
}

test("any frames, cut anywhere, arrive as they were sent; a host that vanished in the middle of one begins anew", async () => {
  const cases = fc.sample(fc.tuple(fc.array(frame, { maxLength: 5 }), frame, fc.double({ min: 0, max: 1, noNaN: true }), cuts), 400);
  const sessions = cases.map(([frames, last, part, at]) => {
    const broken = encodeFrame(last);
    const first = Buffer.concat([Buffer.from(sync, "hex"), broken.subarray(0, Math.floor(part * (broken.length - 1)))]);
    return [...cut(first, at), encodeSync(nonce).toString("hex"), ...cut(Buffer.concat(frames.map(encodeFrame)), at)];
  });
  const lines = await parsed(sessions);
  for (const [i, [frames]] of cases.entries()) {
    const text = (f: (typeof frames)[number]): string => `F${f.stream}:${f.type}:${Buffer.from(f.payload).toString("hex")}`;
    const after = lines[i]!.split(" ").slice(lines[i]!.split(" ").lastIndexOf(`S${nonce.toString("hex")}`) + 1);
    expect(after).toEqual(frames.map(text));
  }
});

test("noise never makes it read or write what is not its own (sanitizers watch)", async () => {
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b)),
    fc
      .tuple(
        fc.integer({ min: 0, max: 70000 }),
        fc.integer({ min: 0, max: 3 }),
        fc.integer({ min: 0, max: 40 }),
        fc.uint8Array({ maxLength: 100 }),
      )
      .map(([length, stream, type, rest]) => {
        const head = Buffer.alloc(12);
        head.writeUInt32LE(length, 0);
        head.writeUInt32LE(stream, 4);
        head[8] = type;
        return Buffer.concat([head, rest]);
      }),
    fc.constant(Buffer.from(sync, "hex")),
    fc.constant(Buffer.from(SYNC_MAGIC)),
  );
  const sessions = fc.sample(fc.tuple(fc.array(noise, { maxLength: 12 }), cuts), 2000).map(([parts, at]) => cut(Buffer.concat(parts), at));
  expect(await parsed(sessions)).toHaveLength(2000);
});
