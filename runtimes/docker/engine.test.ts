import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { HttpError } from "../http.ts";
import { openEngine } from "./engine.ts";

test("an engine that takes connections and says nothing, or stops in the middle, is given up", async () => {
  const dir = mkdtempSync(`${tmpdir()}/engine-`);
  const halves = ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"];
  const server = createServer((socket) => void (socket.on("error", () => {}), socket.write(halves.shift() ?? "")));
  try {
    await new Promise<void>((done) => server.listen(`${dir}/socket`, done));
    const engine = openEngine(`${dir}/socket`, { answerMs: 50 });
    for (let i = 0; i < 2; i++) {
      const thrown = await engine.call("GET", "/version").catch((e: unknown) => e);
      expect(thrown).toBeInstanceOf(HttpError);
      expect((thrown as HttpError).status).toBe(0);
    }
  } finally {
    server.close();
    rmSync(dir, { recursive: true });
  }
});
