/** The packages as their users have them: the examples of the seed compile against the built types, and run. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPackages } from "#scripts/packages.ts";

const ROOT = join(import.meta.dirname, "../..");
const dir = mkdtempSync(`${tmpdir()}/hl-packages-`);
const NAMES = ["firecracker", "cloud-hypervisor", "docker", "qemu"];

beforeAll(async () => {
  await buildPackages();
  mkdirSync(`${dir}/node_modules/@hyperlane`, { recursive: true });
  for (const name of NAMES) symlinkSync(`${ROOT}/build/packages/${name}`, `${dir}/node_modules/@hyperlane/${name}`);
  for (const name of ["zod", "@types", "undici-types"])
    if (existsSync(`${ROOT}/node_modules/${name}`)) symlinkSync(`${ROOT}/node_modules/${name}`, `${dir}/node_modules/${name}`);
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const FIRECRACKER = `import { Machine, DrivesBuilder } from "@hyperlane/firecracker";

const machine = new Machine({
  socketPath: "/tmp/firecracker.sock",
  kernelImagePath: "/path/to/vmlinux",
  kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off",
  vcpuCount: 2,
  memSizeMib: 512,
  drives: new DrivesBuilder("/path/to/rootfs.ext4").build(),
  networkInterfaces: [{
    iface_id: "eth0",
    host_dev_name: "tap0",
  }],
});

await machine.start();

const result = await machine.exec(["uname", "-a"]);
console.log(result.stdout);

await machine.shutdown();

machine.handlers.init.prepend("MyHandler", async (machine) => {
  console.log(\`Starting machine \${machine.id}\`);
});
`;
const CLOUD_HYPERVISOR = `import { Machine } from "@hyperlane/cloud-hypervisor";

const machine = new Machine({
  socketPath: "/tmp/cloud-hypervisor.sock",
  payload: {
    kernel: "/path/to/vmlinux",
    cmdline: "console=ttyS0 root=/dev/vda rw",
  },
  cpus: {
    boot_vcpus: 4,
    max_vcpus: 8,
  },
  memory: {
    size: 1024 * 1024 * 1024,
    hotplug_size: 512 * 1024 * 1024,
  },
  disks: [{
    path: "/path/to/rootfs.ext4",
    readonly: false,
  }],
  net: [{
    tap: "tap0",
    mac: "02:00:00:00:00:01",
  }],
});

await machine.start();
await machine.addDisk({ path: "/path/to/data.ext4", id: "data" });
await machine.resize({ desired_vcpus: 6, desired_ram: 2 * 1024 * 1024 * 1024 });
await machine.createSnapshot("file:///path/to/snapshot");
await machine.shutdown();
`;
const DOCKER = `import { Container } from "@hyperlane/docker";

const container = new Container({
  id: "my-app",
  image: "node:20-alpine",
  cmd: ["node", "server.js"],
  cpus: 2,
  memoryMib: 512,
  env: {
    NODE_ENV: "production",
    PORT: "3000",
  },
  ports: [
    { hostPort: 3000, containerPort: 3000 },
  ],
  volumes: [
    { hostPath: "/data/app", containerPath: "/app", readOnly: false },
  ],
  restart: "unless-stopped",
});

await container.start();
const result = await container.exec(["node", "--version"]);
console.log(result.stdout);
const logs = await container.logs({ tail: 100 });
console.log(logs);
await container.stop();
await container.remove();
`;
/** All of them behind one interface. */
const ANY = `import { Machine as Qemu } from "@hyperlane/qemu";
import { Container } from "@hyperlane/docker";
const all = [new Qemu({ kernelImagePath: "/k" }), new Container({ id: "c", image: "i" })];
for (const r of all) {
  await r.start();
  const { exitCode } = await r.exec(["true"], 1000);
  const pid: number | string | null = r.getPid();
  console.log(exitCode, pid, r.isRunning(), (await r.getInfo()).status, await r.wait());
}
const bad: number = (await all[0]!.exec(["x"])).stdout;
`;

test("the examples compile against the types that are published, and what is wrong does not", async () => {
  const files = { "firecracker.ts": FIRECRACKER, "cloud-hypervisor.ts": CLOUD_HYPERVISOR, "docker.ts": DOCKER, "any.ts": ANY };
  for (const [name, text] of Object.entries(files)) writeFileSync(`${dir}/${name}`, text);
  const options = { strict: true, noEmit: true, target: "esnext", module: "nodenext", types: ["node"], noUncheckedIndexedAccess: true };
  writeFileSync(`${dir}/tsconfig.json`, JSON.stringify({ compilerOptions: options, files: Object.keys(files) }));
  writeFileSync(`${dir}/package.json`, JSON.stringify({ type: "module" }));
  const tsc = Bun.spawn([`${ROOT}/node_modules/.bin/tsc`, "-p", dir], { cwd: dir, stdout: "pipe" });
  expect(await new Response(tsc.stdout).text()).toBe("any.ts(10,7): error TS2322: Type 'string' is not assignable to type 'number'.\n");
}, 60_000);

test("each runs without anything else of ours", async () => {
  for (const name of NAMES) {
    const { main } = { main: `${name}.js` };
    const text = readFileSync(`${ROOT}/build/packages/${name}/${main}`, "utf8");
    expect(
      [...text.matchAll(/from "([^"]+)"/g)]
        .map((m) => m[1]!)
        .filter((s) => !s.startsWith("node:") && s !== "zod" && !/^(fs|net|path|http|crypto|child_process|stream.*|os)$/.test(s)),
    ).toEqual([]);
  }
  writeFileSync(
    `${dir}/run.mjs`,
    `import { Machine } from "@hyperlane/qemu";
import { Machine as Firecracker, DrivesBuilder } from "@hyperlane/firecracker";
console.log(await new Machine({ kernelImagePath: "/none" }).start().catch((e) => e.message));
console.log(await new Firecracker({ binary: "/none/firecracker", kernelImagePath: "/k", drives: new DrivesBuilder("/r").build() }).start().catch((e) => e.message));
`,
  );
  const child = Bun.spawn([process.execPath, "run.mjs"], { cwd: dir, stdout: "pipe", stderr: "inherit" });
  expect(await new Response(child.stdout).text()).toMatch(
    /^ConfigValidation: There is no file "\/none"\.\nStartVMM: Cannot start \/none\/firecracker: .*\n$/,
  );
}, 30_000);
