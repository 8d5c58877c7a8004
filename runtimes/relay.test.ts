/** The relay as a program: what comes to its socket is in its file, whatever becomes of who sent it. */
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";

const dir = mkdtempSync(`${tmpdir()}/hl-relay-`);
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const [socket, file] = [`${dir}/relay.sock`, `${dir}/log`];

async function dial(): Promise<Socket> {
  for (;;) {
    const s = createConnection(socket);
    const there = await new Promise((done) => s.on("connect", () => done(true)).on("error", () => done(false)));
    if (there) return s;
    await Bun.sleep(5);
  }
}
/** Until the other end has closed. */
const closed = (s: Socket): Promise<void> => new Promise((done) => s.on("close", () => done()).resume());

test("all of it is in the file before a connection is closed; it ends with its socket", async () => {
  await Bun.$`gcc -O2 -Wall -Wextra -Werror -o ${dir}/relay ${import.meta.dirname}/relay.c`.quiet();
  const relay = Bun.spawn([`${dir}/relay`, socket, file], { cwd: dir, stderr: "inherit" });
  const first = await dial();
  const lines = Array.from({ length: 50_000 }, (_, i) => `line ${i}\n`).join("");
  first.write(lines);
  // A NUL in the middle of a line is none that says goodbye.
  first.write(Buffer.from("odd \0"));
  first.write("still\n");
  first.write("\0");
  await closed(first);
  expect(readFileSync(file, "utf8")).toBe(`${lines}odd \0still\n`);
  // Another one, which is cut off; and what a truncated file gets begins at its start.
  const second = await dial();
  await Bun.write(file, "");
  second.write("after\n");
  second.end();
  await closed(second);
  expect(readFileSync(file, "utf8")).toBe("after\n");
  rmSync(socket);
  expect([await relay.exited, existsSync(socket)]).toEqual([0, false]);
});
