/**
 * The runtimes as packages of their own: build/packages/NAME, each one file of JavaScript for Node and Bun with the types beside
 * it. What `npm publish` takes.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { ROOT, sh, step } from "./sh.ts";

type Package = { entry: string; about: string; example: string };

/** By the last part of their names. */
const PACKAGES: Record<string, Package> = {
  firecracker: {
    entry: "runtimes/firecracker/machine.ts",
    about: "Firecracker microVMs: machines, drives, jailer, snapshots, and every endpoint of the API, typed.",
    example: `import { DrivesBuilder, Machine } from "@hyperlane/firecracker";

const machine = new Machine({
  socketPath: "/tmp/firecracker.sock",
  kernelImagePath: "/path/to/vmlinux",
  kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off",
  vcpuCount: 2,
  memSizeMib: 512,
  drives: new DrivesBuilder("/path/to/rootfs.ext4").build(),
  networkInterfaces: [{ iface_id: "eth0", host_dev_name: "tap0" }],
});
await machine.start();
await machine.shutdown();`,
  },
  "cloud-hypervisor": {
    entry: "runtimes/cloud-hypervisor/machine.ts",
    about: "Cloud Hypervisor machines: hot-plug, resize, snapshots, migration, and every endpoint of the API, typed.",
    example: `import { Machine } from "@hyperlane/cloud-hypervisor";

const machine = new Machine({
  socketPath: "/tmp/cloud-hypervisor.sock",
  payload: { kernel: "/path/to/vmlinux", cmdline: "console=ttyS0 root=/dev/vda rw" },
  cpus: { boot_vcpus: 4, max_vcpus: 8 },
  memory: { size: 1024 ** 3, hotplug_size: 512 * 1024 ** 2 },
  disks: [{ path: "/path/to/rootfs.ext4" }],
});
await machine.start();
await machine.addDisk({ path: "/path/to/data.ext4", id: "data" });
await machine.resize({ desired_vcpus: 6 });
await machine.createSnapshot("file:///path/to/snapshot");
await machine.shutdown();`,
  },
  docker: {
    entry: "runtimes/docker/container.ts",
    about: "Containers of a Docker engine, confined by default: exec, logs, stats, events, over the Engine API.",
    example: `import { Container } from "@hyperlane/docker";

const container = new Container({
  id: "my-app",
  image: "node:20-alpine",
  cmd: ["node", "server.js"],
  cpus: 2,
  memoryMib: 512,
  env: { NODE_ENV: "production" },
  ports: [{ hostPort: 3000, containerPort: 3000 }],
  restart: "unless-stopped",
});
await container.start();
console.log((await container.exec(["node", "--version"])).stdout);
console.log(await container.logs({ tail: 100 }));
await container.stop();
await container.remove();`,
  },
  qemu: {
    entry: "runtimes/qemu/machine.ts",
    about: "QEMU machines, microvm or q35, on KVM or emulated: exec, disks and CPUs added while they run, snapshots.",
    example: `import { Machine } from "@hyperlane/qemu";

const machine = new Machine({ kernelImagePath: "/path/to/vmlinux", initrdPath: "/path/to/initrd", memSizeMib: 256 });
await machine.start();
await machine.createSnapshot("file:///path/to/state");
await machine.shutdown();`,
  },
};

export async function buildPackages(): Promise<void> {
  const out = `${ROOT}/build/packages`;
  const types = `${out}/.types`;
  rmSync(out, { recursive: true, force: true });
  const entries = Object.values(PACKAGES).map((p) => `${ROOT}/${p.entry}`);
  const flags = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", types, "--rootDir", ROOT];
  const like = ["--ignoreConfig", "--strict", "--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler"];
  const more = ["--allowImportingTsExtensions", "--skipLibCheck", "--types", "bun"];
  await step("types", async () => void (await sh([`${ROOT}/node_modules/.bin/tsc`, ...like, ...more, ...flags, ...entries])));
  const { version, license, dependencies } = JSON.parse(readFileSync(`${ROOT}/package.json`, "utf8")) as {
    version: string;
    license: string;
    dependencies: Record<string, string>;
  };
  for (const [name, { entry, about, example }] of Object.entries(PACKAGES)) {
    const at = `${out}/${name}`;
    mkdirSync(at, { recursive: true });
    await sh([
      process.execPath,
      "build",
      `${ROOT}/${entry}`,
      "--target=node",
      "--format=esm",
      "--external=zod",
      "--outfile",
      `${at}/${name}.js`,
    ]);
    cpSync(types, `${at}/types`, { recursive: true });
    const manifest = {
      ...{ name: `@hyperlane/${name}`, version, description: about, license, type: "module" },
      exports: { ".": { types: `./types/${entry.replace(/\.ts$/, ".d.ts")}`, default: `./${name}.js` } },
      files: [`${name}.js`, "types", "LICENSE"],
      engines: { node: ">=22" },
      dependencies: { zod: dependencies.zod },
    };
    writeFileSync(`${at}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
    writeFileSync(
      `${at}/README.md`,
      `# @hyperlane/${name}\n\n${about}\n\n\`\`\`ts\n${example}\n\`\`\`\n\nPart of Hyperlane; Apache-2.0.\n`,
    );
    cpSync(`${ROOT}/LICENSE`, `${at}/LICENSE`);
  }
  rmSync(types, { recursive: true });
}
