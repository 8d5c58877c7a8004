/** Images for tests with real machines. */
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tarOf, writeLayout } from "#tests/oci/peers.ts";
import { WHY_NOT, type TestNode } from "./node.ts";

export const NO_BUSYBOX = WHY_NOT ?? (existsSync("/bin/busybox") ? null : "busybox-static is not installed");

/** busybox with a few users; `bare` has one static program and nothing else. */
export async function makeImage(n: TestNode, name: string, config: object, bare = false): Promise<void> {
  const root = `${n.home}/root-${name}`;
  mkdirSync(`${root}/bin`, { recursive: true });
  cpSync("/bin/busybox", `${root}/bin/busybox`);
  if (!bare) {
    for (const dir of ["etc", "tmp", "home/app"]) mkdirSync(`${root}/${dir}`, { recursive: true });
    Bun.spawnSync([
      "sh",
      "-c",
      `cd ${root} && chmod 1777 tmp && for a in $(busybox --list); do [ $a = busybox ] || ln -s busybox bin/$a; done`,
    ]);
    writeFileSync(`${root}/etc/passwd`, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\nodd:x:1001:7::/nowhere:\n");
    writeFileSync(`${root}/etc/group`, "root:x:0:\nstaff:x:50:root,app\napp:x:1000:\nextra:x:2000:odd,app\n");
  }
  writeLayout(`${n.home}/layout-${name}`, "1", [await tarOf(root)], config);
  await Bun.$`tar -C ${n.home}/layout-${name} -cf ${n.home}/layout-${name}.tar .`.quiet();
  await n.ok(n.vps("image", "load", "-i", `${n.home}/layout-${name}.tar`, "--name", name));
}
