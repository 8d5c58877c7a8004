/** The real control plane, whole (API, log, gRPC), in this process, with one pretended node behind a real agent server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { Readable } from "node:stream";
import { startAgentServer } from "#agent/server.ts";
import { initControl } from "#control/init.ts";
import { runControl, wallClock } from "#control/main.ts";
import { webDir } from "#host/place.ts";
import { importRootfs } from "#oci/archive.ts";
import { createRegistry } from "#oci/client.ts";
import { createClient, type Client } from "#sdk/client.ts";
import { createFakeHost, createFakeLanes, createFakeVolumes, fakeStatus, type FakeHost } from "./host.ts";
import { createFakeImages } from "./images.ts";

export type FakeControl = {
  url: string;
  token: string;
  client: Client;
  host: FakeHost;
  dir: string;
  lanes: ReturnType<typeof createFakeLanes>;
  close(): void;
};
const SIZE = { cpu: 8, memoryMib: 16384, diskMib: 500_000 };

export async function startFakeControl({
  stepMs = 5,
  guests = false,
  log = () => {},
  ...size
}: Partial<NodeOptions> = {}): Promise<FakeControl> {
  const { dir, made } = await initFake();
  const { host, lanes, close } = await startFakeNode(made, dir, { ...SIZE, ...size, stepMs, guests, log });
  const { url, token, client, control } = await serveFake(dir, made, log);
  return {
    url,
    token,
    client,
    host,
    dir,
    lanes,
    close(): void {
      control.close();
      close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

type NodeOptions = typeof SIZE & { stepMs: number; guests?: boolean; log(line: string): void };
export type Made = Awaited<ReturnType<typeof initControl>>;

export async function initFake(): Promise<{ dir: string; made: Made }> {
  const dir = mkdtempSync(`${tmpdir()}/hl-fake-`);
  return { dir, made: await initControl({ dir, port: freePorts(), nodeName: "node-1" }) };
}

/** The node that was enrolled, its machines pretended. */
export async function startFakeNode(made: Made, dir: string, { stepMs, guests = false, log, ...size }: NodeOptions) {
  const host = createFakeHost();
  const lanes = createFakeLanes(host, wallClock, () => stepMs, guests);
  const agent = await startAgentServer(
    {
      node: made.node,
      lanes: lanes as never,
      volumes: createFakeVolumes(host) as never,
      images: createFakeImages(host) as never,
      templates: { onChange: () => () => {} } as never,
      spares: { onChange: () => () => {} } as never,
      logsDir: dir,
      workDir: dir,
      status: () => fakeStatus(host, size),
      tls: made.tls,
      log,
    },
    made.agentAddress,
  );
  return {
    host,
    lanes,
    close(): void {
      agent.close();
      lanes.close();
    },
  };
}

/** The control plane, once it has an image and its node. */
export async function serveFake(dir: string, made: Made, log: (line: string) => void) {
  const control = await runControl(dir, { version: "0.1.0", webDir: webDir(), log });
  const url = `http://127.0.0.1:${control.port}`;
  const token = made.secret!;
  const client = createClient({ url, token });
  const registry = createRegistry({ base: url, credentials: { username: "test", password: token }, push: true });
  await importRootfs(registry, Readable.from([Buffer.alloc(1024)]), "debian:12", { Cmd: ["/sbin/init"] });
  while (!(await client.listNodes()).items[0]?.connected) await Bun.sleep(10);
  return { control, url, token, client };
}

/** A free port that has a free one above it. */
function freePorts(): number {
  const listen = (port: number) => Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } });
  for (;;) {
    const first = listen(0);
    const { port } = first;
    try {
      listen(port + 1).stop(true);
      return port;
    } catch {
      // The one above is taken: another pair.
    } finally {
      first.stop(true);
    }
  }
}
