import { expect, test } from "bun:test";
import fc from "fast-check";
import { createFrameReader, encodeFrame, encodeSync, FRAME_MAX, SYNC_MAGIC, type Frame } from "./frames.ts";
import { F } from "./messages.ts";

const nonce = Buffer.from("12345678");
const answer = Buffer.concat([SYNC_MAGIC, nonce]);
const frame = fc.record({
  stream: fc.nat(),
  type: fc.integer({ min: F.STDOUT, max: F.READY }),
  payload: fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b)),
});

test("any frames, cut anywhere, come out as they went in; what precedes the answer to SYNC does not", () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }), (frames, cuts) => {
      const bytes = Buffer.concat([Buffer.from("stale bytes"), answer, ...frames.map(encodeFrame)]);
      const reader = createFrameReader(nonce);
      const out: Frame[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const n = cuts[i % cuts.length]!;
        out.push(...reader.push(bytes.subarray(at, at + n)));
        at += n;
      }
      expect(out).toEqual(frames);
    }),
  );
});

test("a hostile guest's bytes are refused or ignored, never more", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (junk) => {
      const reader = createFrameReader(nonce);
      reader.push(answer);
      try {
        for (const f of reader.push(Buffer.from(junk))) expect(f.payload.length).toBeLessThanOrEqual(FRAME_MAX);
      } catch (error) {
        expect((error as Error).message).toBe("Malformed frame from the guest");
      }
    }),
  );
});

test("SYNC begins with enough zeros to end the longest frame that could be cut off", () => {
  expect(
    encodeSync(nonce)
      .subarray(0, FRAME_MAX + 24)
      .every((b) => b === 0),
  ).toBe(true);
});
