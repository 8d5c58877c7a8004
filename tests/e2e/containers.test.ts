/** Machines that are containers of Debian's Docker: the same images, networks, ports, volumes, exec and logs, and the same words. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { startDocker, whyNoDocker } from "#tests/oci/docker.ts";
import { makeImage, NO_BUSYBOX } from "./image.ts";
import { ROOT, startNode, type TestNode } from "./node.ts";

const SKIP = NO_BUSYBOX ?? (await whyNoDocker());
if (SKIP) console.log(`SKIP tests/e2e/containers: ${SKIP}`);
const it = test.skipIf(SKIP !== null);
const ENGINE = mkdtempSync(`${tmpdir()}/hl-docker-`);
const FOLDER = `/tmp/hl-container-folder-${process.pid}`;
const SERVE = "echo up $WHO; hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
let n: TestNode;
let d: Awaited<ReturnType<typeof startDocker>>;

beforeAll(async () => {
  if (SKIP) return;
  mkdirSync(FOLDER);
  writeFileSync(`${FOLDER}/file`, "of the host\n");
  n = await startNode("containers", ["--docker", `unix://${ENGINE}/docker.sock`, "--allow-folder", FOLDER]);
  d = await startDocker({ dir: ENGINE, enter: n.pidOf("agent") });
  await makeImage(n, "box:1", { Cmd: ["/bin/sh"], Env: ["PATH=/bin", "FROM=image"] });
  await engineIsOffered();
}, 120_000);
afterAll(async () => {
  if (!SKIP) {
    await run("-d", "--name", "left", "box:1", "sleep", "1000");
    expect(await n.close()).toEqual([]);
    expect((await d.docker("ps", "-aq")).out).toBe("");
    await d.close();
  }
  rmSync(FOLDER, { recursive: true, force: true });
}, 60_000);

const engineIsOffered = () =>
  n.until(
    async () => (await n.vps("node", "list", "--json")).out,
    (out) => out.includes('"docker"'),
  );
const run = (...args: string[]): Promise<string> => n.ok(n.vps("run", "--runtime", "docker", ...args));
const containerOf = async (name: string): Promise<string> => `hyperlane-${(await n.machine(name)).id}`;
const inspect = async (name: string) => {
  const { out } = await d.docker("inspect", await containerOf(name));
  return (JSON.parse(out) as { State: { Pid: number; StartedAt: string }; HostConfig: { [key: string]: unknown } }[])[0]!;
};

it("run prints, fails and is gone as a machine does", async () => {
  expect(await run("--rm", "box:1", "echo", "hello")).toBe("hello\n");
  const failed = await n.vps(
    "run",
    "--rm",
    "--runtime",
    "docker",
    "-e",
    "A=b c",
    "box:1",
    "sh",
    "-c",
    "echo $A $FROM; id -u; echo no >&2; exit 7",
  );
  expect(failed).toEqual({ code: 7, out: "b c image\n0\n", err: "no\n" });
  expect((await n.vps("run", "--rm", "--runtime", "docker", "-u", "app", "-w", "/made", "box:1", "sh", "-c", "id -un; pwd")).out).toBe(
    "app\n/made\n",
  );
  expect((await n.vps("run", "--rm", "--runtime", "docker", "box:1", "sh", "-c", "kill -9 $$")).code).toBe(137);
  const readOnly = await n.vps(
    "run",
    "--rm",
    "--runtime",
    "docker",
    "--read-only",
    "-v",
    "kept:/kept",
    "box:1",
    "sh",
    "-c",
    "touch /x; touch /kept/x && ls /kept",
  );
  expect([readOnly.out, readOnly.err]).toEqual(["x\n", expect.stringContaining("Read-only file system")]);
}, 90_000);

it("it is reached by name, port and exec, has its limits, and no more rights than it needs", async () => {
  await run("-d", "--name", "web", "-p", "18120:80", "-m", "128M", "-e", "WHO=me", "--stop-timeout", "1", "box:1", "sh", "-c", SERVE);
  await n.until(
    async () => (await n.sh(["curl", "-s", "http://127.0.0.1:18120/"])).out,
    (out) => out === "web\n",
  );
  expect(await n.ok(n.vps("logs", "web"))).toBe("up me\n");
  expect(await n.vps("exec", "web", "--", "sh", "-c", "hostname; cat; exit 3")).toEqual({ code: 3, out: "web\n", err: "" });
  writeFileSync(`${n.home}/file`, "content");
  await n.ok(n.vps("cp", `${n.home}/file`, "web:/tmp/in"));
  await n.ok(n.vps("cp", "web:/tmp/in", `${n.home}/back`));
  expect(readFileSync(`${n.home}/back`, "utf8")).toBe("content");
  const { out: onTerminal } = await n.sh(["script", "-qec", `${process.execPath} ${ROOT}/main.ts vps exec -it web tty`, "/dev/null"]);
  expect(onTerminal).toContain("/dev/pts/");
  const { observed } = await n.machine("web");
  expect(observed).toMatchObject({ phase: "running", origin: "boot", pid: (await inspect("web")).State.Pid });
  // A machine that is a VM and one that is a container meet, by name and over both families.
  await n.ok(n.vps("run", "-d", "--name", "vm", "-m", "128M", "--stop-timeout", "1", "box:1", "sleep", "1000"));
  for (const family of ["-4", "-6"]) {
    await n.ok(n.vps("exec", "vm", "--", "ping", family, "-c1", "-W5", "web.internal"));
    await n.ok(n.vps("exec", "web", "--", "ping", family, "-c1", "-W5", "vm.internal"));
  }
  expect((await inspect("web")).HostConfig).toMatchObject({
    ...{ Memory: 128 * 2 ** 20, NanoCpus: 1e9, PidsLimit: 512, Privileged: false, CapDrop: ["ALL"], NetworkMode: "none" },
    SecurityOpt: ["no-new-privileges:true"],
  });
  const status = readFileSync(`/proc/${observed!.pid}/status`, "utf8");
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE, NET_RAW.
  expect(status).toMatch(/^CapBnd:\t00000000000024fb$/m);
  const stats = JSON.parse(await n.ok(n.vps("stats", "web", "--json", "--no-stream"))) as object;
  expect(JSON.stringify(stats)).toContain('"memoryMib": 128'.replace(" ", ""));
  expect(await n.ok(n.vps("top", "web"))).toContain("httpd -f");
}, 120_000);

it("volumes and folders are the same as a VM's, and what is written stays", async () => {
  await n.ok(n.vps("exec", "web", "--", "sh", "-c", "echo mine > /tmp/own"));
  await n.ok(n.vps("run", "--rm", "-m", "128M", "-v", "shared:/d", "box:1", "sh", "-c", "echo from a vm > /d/f; chown 1000 /d/f"));
  await n.ok(n.vps("destroy", "-y", "vm"));
  const see = ["-v", "shared:/data", "-v", `${FOLDER}:/host`];
  expect(
    await run("--rm", ...see, "box:1", "sh", "-c", "cat /data/f /host/file; stat -c %u /data/f; echo back > /data/g; touch /host/x; true"),
  ).toBe("from a vm\nof the host\n1000\n");
  expect(existsSync(`${FOLDER}/x`)).toBe(false);
  await n.ok(n.vps("volume", "resize", "shared", "11G"));
  expect(await n.ok(n.vps("run", "--rm", "-m", "128M", "-v", "shared:/d:ro", "box:1", "cat", "/d/g"))).toBe("back\n");
  const size = await run("--rm", "-v", "shared:/d", "box:1", "sh", "-c", "df -m /d; exit 0");
  expect(Number(/(\d+) +\d+ +\d+ +\d+% \/d/.exec(size)?.[1])).toBeGreaterThan(10_500);
  // A volume more needs a start; what was written outside of volumes is there afterwards.
  expect((await n.vps("volume", "attach", "shared", "web:/data")).err).toContain("after the next start");
  await n.ok(n.vps("restart", "web"));
  expect(await n.ok(n.vps("exec", "web", "--", "cat", "/tmp/own", "/data/g"))).toBe("mine\nback\n");
  expect((await n.vps("volume", "detach", "shared", "web")).err).toContain("until its next start");
  // Without the volume it is another container, and with other limits it is the same.
  const before = (await d.docker("inspect", "-f", "{{.Id}}", await containerOf("web"))).out;
  await n.ok(n.vps("restart", "web"));
  const during = (await d.docker("inspect", "-f", "{{.Id}}", await containerOf("web"))).out;
  expect(during).not.toBe(before);
  await n.ok(n.vps("scale", "web", "--ram", "192M", "--restart"));
  expect((await d.docker("inspect", "-f", "{{.Id}}", await containerOf("web"))).out).toBe(during);
  expect((await inspect("web")).HostConfig.Memory).toBe(192 * 2 ** 20);
  expect(await n.ok(n.vps("exec", "web", "--", "sh", "-c", "cat /tmp/own; ls /data"))).toBe("mine\n");
  // As an agent leaves it that was killed while it made one anew: what was written is there all the same.
  await d.docker("rm", "-f", await containerOf("web"));
  await n.until(
    async () => (await n.machine("web")).state,
    (state) => state === "failed",
  );
  await n.ok(n.vps("start", "web"));
  expect(await n.ok(n.vps("exec", "web", "--", "cat", "/tmp/own"))).toBe("mine\n");
}, 120_000);

it("pause, resume and stop; a killed agent finds it again, with all that it prints", async () => {
  await n.ok(n.vps("pause", "web"));
  expect(await n.ok(n.sh(["docker", "-H", `unix://${ENGINE}/docker.sock`, "ps", "--format", "{{.Status}}"]))).toContain("(Paused)");
  await n.ok(n.vps("resume", "web"));
  await run(
    "-d",
    "--name",
    "count",
    "--restart",
    "always",
    "--stop-timeout",
    "1",
    "box:1",
    "sh",
    "-c",
    "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done",
  );
  const { pid } = (await n.machine("count")).observed!;
  await n.kill("agent");
  await n.until(
    () => n.vps("exec", "count", "--", "hostname"),
    (r) => r.out === "count\n",
  );
  expect((await n.machine("count")).observed!.pid).toBe(pid);
  const lines = (await n.ok(n.vps("logs", "count"))).trim().split("\n").map(Number);
  expect(lines).toEqual(lines.map((_, i) => i + 1));
  await n.ok(n.vps("stop", "count"));
  expect((await n.machine("count")).state).toBe("stopped");
  await n.ok(n.vps("start", "count"));
}, 90_000);

it("what somebody does to a container behind its back is seen and put right", async () => {
  const epoch = async (): Promise<number> => (await n.machine("count")).epoch;
  for (const harm of [["stop", "-t", "5"], ["kill"], ["rm", "-f"]]) {
    const before = await epoch();
    expect((await d.docker(...harm, await containerOf("count"))).code).toBe(0);
    await n.until(
      async () => ((await epoch()) > before ? (await n.vps("exec", "count", "--", "hostname")).out : ""),
      (out) => out === "count\n",
    );
  }
  expect((await d.docker("pause", await containerOf("count"))).code).toBe(0);
  expect(
    await n.until(
      async () => (await n.vps("exec", "count", "--", "hostname")).out,
      (out) => out === "count\n",
    ),
  ).toBe("count\n");
  // The engine itself may be killed: commands need none, and what it takes along as it comes back is started again.
  await d.kill();
  expect((await n.vps("exec", "count", "--", "hostname")).out).toBe("count\n");
  d = await startDocker({ dir: ENGINE, enter: n.pidOf("agent") });
  await n.until(
    async () => [
      (await n.vps("exec", "count", "--", "hostname")).out,
      (await d.docker("ps", "-q", "--filter", `name=${await containerOf("count")}`)).out,
    ],
    ([out, running]) => out === "count\n" && running !== "",
  );
  await engineIsOffered();
  // It is not started again by itself, as it was asked for.
  await n.ok(n.vps("start", "web"));
}, 120_000);

it("Hyperfleet's API answers as its README shows it", async () => {
  const { url, token } = JSON.parse(readFileSync(`${n.home}/.config/hyperlane/config.json`, "utf8")) as { url: string; token: string };
  type Answer = { status: number; body: { [key: string]: unknown } & { id: string } };
  const curl = async (method: string, path: string, body?: object, auth = `Bearer ${token}`): Promise<Answer> => {
    const json = ["-H", "Content-Type: application/json", "-H", `Authorization: ${auth}`];
    const { out } = await n.sh([
      "curl",
      "-s",
      "-w",
      "\n%{http_code}",
      "-X",
      method,
      ...json,
      ...(body ? ["-d", JSON.stringify(body)] : []),
      `${url}${path}`,
    ]);
    const at = out.lastIndexOf("\n");
    return { status: Number(out.slice(at + 1)), body: at > 0 ? JSON.parse(out.slice(0, at)) : {} };
  };
  const asked = {
    ...{ name: "my-container", runtime_type: "docker", vcpu_count: 2, mem_size_mib: 256, image: "box:1" },
    ...{
      ports: [{ host_port: 18121, container_port: 80 }],
      env: { NODE_ENV: "production" },
      cmd: ["sh", "-c", "echo $NODE_ENV > /tmp/e; exec httpd -f -h /tmp"],
    },
  };
  const made = await curl("POST", "/machines", asked);
  expect([made.status, made.body]).toMatchObject([
    201,
    { name: "my-container", status: "pending", runtime_type: "docker", vcpu_count: 2, mem_size_mib: 256, image: "box:1", pid: null },
  ]);
  const { id } = made.body;
  // Made is not started.
  expect((await d.docker("ps", "-aq", "--filter", `label=hyperlane.machine=${id}`)).out).toBe("");
  expect((await curl("POST", `/machines/${id}/exec`, { cmd: ["true"] })).status).toBe(409);
  expect(await curl("POST", `/machines/${id}/start`)).toMatchObject({
    status: 200,
    body: { status: "running", container_id: `hyperlane-${id}` },
  });
  await n.until(
    async () => (await n.sh(["curl", "-s", "http://127.0.0.1:18121/e"])).out,
    (out) => out === "production\n",
  );
  const ran = await curl("POST", `/api/v1/machines/${id}/exec`, { command: ["sh", "-c", "echo out; echo err >&2; exit 4"], timeout: 30 });
  expect([ran.status, ran.body]).toEqual([200, { exit_code: 4, stdout: "out\n", stderr: "err\n" } as never]);
  expect(await curl("POST", `/machines/${id}/exec`, { cmd: ["sleep", "20"], timeout: 0.5 })).toMatchObject({
    status: 504,
    body: { error: "TimeoutError" },
  });
  expect((await curl("POST", `/machines/${id}/exec`, { cmd: ["sleep", "2"], timeout: 30 })).body).toMatchObject({ exit_code: 0 });
  const ids = async (query: string): Promise<string[]> =>
    ((await curl("GET", `/machines${query}`)).body as unknown as { id: string }[]).map((m) => m.id);
  expect(await ids("?runtime_type=docker&status=running")).toContain(id);
  expect(await ids("?runtime_type=firecracker")).toEqual([]);
  expect((await ids(""))[0]).toBe(id);
  expect((await curl("POST", `/machines/${id}/pause`)).body.status).toBe("paused");
  expect((await curl("POST", `/machines/${id}/resume`)).body.status).toBe("running");
  expect((await curl("POST", `/machines/${id}/restart`)).body.status).toBe("running");
  expect((await curl("GET", `/api/v1/machines/${id}/wait?status=running&timeout=5`)).status).toBe(200);
  expect((await curl("GET", `/machines/${id}/wait?status=failed&timeout=1`)).status).toBe(504);
  expect((await curl("POST", `/machines/${id}/stop`)).body.status).toBe("stopped");
  expect((await curl("DELETE", `/machines/${id}`)).status).toBe(204);
  for (const [method, path, body, status, error] of [
    ["GET", `/machines/${id}`, undefined, 404, "NotFoundError"],
    ["DELETE", "/machines/nobody", undefined, 404, "NotFoundError"],
    ["POST", "/machines", { name: "x", vcpu_count: 0, image: "box:1" }, 400, "ValidationError"],
    ["POST", "/machines", { name: "x", image: "box:1", runtime_typ: "docker" }, 400, "ValidationError"],
    ["POST", "/machines", { ...asked, name: "x", privileged: true }, 409, "ConflictError"],
    ["POST", "/machines", { name: "x", runtime_type: "firecracker", image: "box:1" }, 409, "ConflictError"],
    ["POST", "/machines", { name: "x", kernel_image_path: "/k", image: "box:1" }, 409, "ConflictError"],
    ["PATCH", "/machines", undefined, 404, "NotFoundError"],
  ] as const)
    expect([path, body, await curl(method, path, body)]).toMatchObject([path, body, { status, body: { error } }]);
  for (const auth of ["", "Bearer hl_wrong"]) expect((await curl("GET", "/machines", undefined, auth)).status).toBe(401);
  expect((await n.sh(["curl", "-s", `${url}/swagger`])).out).toContain("/machines/{id}/exec");
  expect(JSON.parse((await n.sh(["curl", "-s", `${url}/swagger/json`])).out)).toMatchObject({ openapi: "3.1.0" });
}, 120_000);

it("what a container cannot do is refused with the reason, and nothing is left of it", async () => {
  for (const [words, why] of [
    [["standby", "web"], "cannot keep its memory"],
    [["snapshot", "web"], "cannot keep its disk as it is"],
    [["image", "create", "x:1", "--from", "web"], "cannot keep its disk as it is"],
    [["up", "sys", "--runtime", "docker"], "cannot run an image's own init"],
    [["run", "--runtime", "docker", "--idle", "5s", "box:1"], "cannot keep its memory"],
    [["run", "--runtime", "firecracker", "box:1"], 'No node has the runtime "firecracker"'],
    [["run", "--gpu", "pci:0000:ff:1f.7", "box:1"], "no node has it"],
    [["run", "--runtime", "docker", "--gpu", "pci:0000:ff:1f.7", "box:1"], "cannot be given a device"],
  ] as const) {
    const refused = await n.vps(...words);
    expect([words, refused.code, refused.err]).toEqual([words, 1, expect.stringContaining(why)]);
  }
  const id = (await n.machine("web")).id;
  for (const name of ["web", "count"]) await n.ok(n.vps("destroy", "-y", name));
  expect((await d.docker("ps", "-aq")).out).toBe("");
  expect((await d.docker("volume", "ls", "-q")).out).toBe("");
  expect((await n.sh(["ip", "-br", "link"])).out).not.toContain(id.slice(2));
  expect((await n.sh(["losetup", "-a"])).out).not.toContain(n.home);
}, 90_000);
