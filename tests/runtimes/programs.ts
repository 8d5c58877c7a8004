/** What stands in for VMMs that are not there, as programs that a node is told of. */
import { chmodSync } from "node:fs";
import { ROOT } from "#tests/e2e/node.ts";

export const RUNTIMES = ["firecracker", "cloud-hypervisor"] as const;

/** What `hyperlane init` is to be told. As one file, which those may run who may not read this tree. */
export async function compileStandIns(dir: string): Promise<string[]> {
  chmodSync(dir, 0o755);
  const vsock = process.env.VHOST_DEVICE_VSOCK;
  const define = vsock === undefined ? [] : ["--define", `process.env.VHOST_DEVICE_VSOCK=${JSON.stringify(vsock)}`];
  await Bun.$`${process.execPath} build --compile ${define} ${ROOT}/tests/runtimes/stand-in.ts --outfile ${dir}/firecracker`.quiet();
  await Bun.$`ln ${dir}/firecracker ${dir}/cloud-hypervisor`.quiet();
  return RUNTIMES.flatMap((r) => [`--${r}`, `${dir}/${r}`]);
}
