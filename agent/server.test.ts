/** Who may speak to an agent: its control plane, by certificate, and nobody else. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { PROTOCOL, serviceDefinition, speaks } from "#contract/wire/agent.ts";
import { createCa, issueCertificate, type KeyAndCertificate } from "#control/auth/pki.ts";
import { createFakeHost, createFakeLanes, createFakeVolumes, fakeStatus } from "#tests/fake/host.ts";
import { wallClock } from "#control/main.ts";
import { startAgentServer } from "./server.ts";

let server: { port: number; close(): void };
let ca: KeyAndCertificate;
beforeAll(async () => {
  ca = await createCa();
  const host = createFakeHost();
  const status = () => fakeStatus(host, { cpu: 1, memoryMib: 1, diskMib: 1 });
  const tls = { ca: ca.cert, ...(await issueCertificate(ca, "n-1")) };
  server = await startAgentServer(
    {
      node: "n-1",
      lanes: createFakeLanes(host, wallClock, () => 1) as never,
      volumes: createFakeVolumes(host) as never,
      images: { onArrival: () => () => {} } as never,
      templates: { onChange: () => () => {} } as never,
      spares: { onChange: () => () => {} } as never,
      logsDir: "/",
      workDir: "/",
      status,
      tls,
      log: () => {},
    },
    "127.0.0.1:0",
  );
});
afterAll(() => server.close());

async function call(method: "Hello" | "Apply", identity: KeyAndCertificate | null, request: unknown, name = "n-1"): Promise<unknown> {
  const secure = credentials.createSsl(Buffer.from(ca.cert), identity && Buffer.from(identity.key), identity && Buffer.from(identity.cert));
  const client = new Client(`127.0.0.1:${server.port}`, identity ? secure : credentials.createSsl(Buffer.from(ca.cert)), {
    "grpc.ssl_target_name_override": name,
  });
  const m = serviceDefinition()[method];
  try {
    return await new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        m.path,
        m.requestSerialize,
        m.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + 2000 },
        (e: ServiceError | null, reply) => (e ? reject(e) : resolve(reply)),
      ),
    );
  } finally {
    client.close();
  }
}
const hello = { protocol: PROTOCOL };

test("the control plane is let in", async () => {
  expect(await call("Hello", await issueCertificate(ca, "control"), hello)).toEqual({ protocol: PROTOCOL, node: "n-1" });
});

test("another node, though the same CA signed it, is not", async () => {
  await expect(call("Hello", await issueCertificate(ca, "n-2"), hello)).rejects.toThrow("Only the control plane may call this");
});

test("who shows no certificate, or one of another CA, gets no connection", async () => {
  await expect(call("Hello", null, hello)).rejects.toMatchObject({ code: 14 });
  await expect(call("Hello", await issueCertificate(await createCa(), "control"), hello)).rejects.toMatchObject({ code: 14 });
});

test("a control plane that dials one node and gets another goes no further", async () => {
  await expect(call("Hello", await issueCertificate(ca, "control"), hello, "n-9")).rejects.toMatchObject({ code: 14 });
});

test("a document that breaks the schema is refused whole", async () => {
  await expect(
    call("Apply", await issueCertificate(ca, "control"), { machines: [{ id: "../../etc" }], removeImages: [] }),
  ).rejects.toThrow();
});

test("one minor version back is understood, another major is not", () => {
  expect([
    speaks(PROTOCOL),
    speaks({ ...PROTOCOL, minor: PROTOCOL.minor + 1 }),
    speaks({ ...PROTOCOL, minor: PROTOCOL.minor + 2 }),
    speaks({ ...PROTOCOL, major: PROTOCOL.major + 1 }),
  ]).toEqual([true, true, false, false]);
});
