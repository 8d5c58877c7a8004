import { expect, test } from "bun:test";
import { createLines } from "./lines.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("lines are whole however they were cut, each stream by itself, and plain", () => {
  const lines = createLines();
  const euro = bytes("5 €\n");
  expect(lines.push(bytes("one\ntw"), false).map((l) => l.text)).toEqual(["one"]);
  expect(lines.push(bytes("oops\n"), true)).toEqual([{ n: 2, text: "oops", bad: true }]);
  expect(lines.push(bytes("o\r\n"), false).map((l) => l.text)).toEqual(["two"]);
  expect(lines.push(euro.subarray(0, 3), false)).toEqual([]);
  expect(lines.push(euro.subarray(3), false).map((l) => l.text)).toEqual(["5 €"]);
  expect(lines.push(bytes("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end\x07\n10%\r50%\r100%\n"), false).map((l) => l.text)).toEqual([
    "red end",
    "100%",
  ]);
  expect(lines.push(bytes("left"), false)).toEqual([]);
  expect(lines.end().map((l) => l.text)).toEqual(["left"]);
});
