/** Containers of a Docker engine on this node: the engine, its images, and what a container is given of the host. */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { identify, isAlive } from "#agent/host/process.ts";
import { run } from "#agent/host/run.ts";
import { asUser, checkFileSystem, needsReplay } from "#agent/storage/lend.ts";
import { createDocker } from "#runtimes/docker/driver.ts";
import { openEngine } from "#runtimes/docker/engine.ts";
import { openEngineImages } from "./images.ts";

export type Containers = ReturnType<typeof openContainers>;

/** init: guest/container.c, as a program. disksDir: for links to the disks that containers have. */
export function openContainers({ node, socket, init, disksDir, log }: Deps) {
  const engine = openEngine(socket);
  const driver = createDocker(engine, { node, identify, isAlive });
  const images = openEngineImages(engine);
  let answers = false;
  mkdirSync(disksDir, { recursive: true, mode: 0o700 });
  const linksOf = (id: string): string[] => readdirSync(disksDir).filter((n) => n.startsWith(`${id}.`));
  return {
    driver,
    images,
    init,
    /** Whether the engine answered when it was last looked for. */
    get there(): boolean {
      return answers;
    },
    /** It may come and go, and so may what it has. */
    async look(): Promise<void> {
      const before = answers;
      answers =
        existsSync(socket) &&
        (await images.refresh().then(
          () => true,
          () => false,
        ));
      if (answers === before) return;
      if (!answers) return log(`Docker at ${socket} does not answer any more.`);
      log(`Containers run in Docker ${await driver.version().catch(() => "of an unknown version")} at ${socket}.`);
    },
    /** A link that the engine mounts as a disk, whatever device is behind it this time. */
    async lendDisk(id: string, place: number, file: string, readonly: boolean, uid: number): Promise<string> {
      if (!readonly) await fitFileSystem(file, uid);
      const device = (await run(["losetup", "--find", "--show", ...(readonly ? ["--read-only"] : []), "--", file])).trim();
      const link = `${disksDir}/${id}.${place}`;
      rmSync(link, { force: true });
      symlinkSync(device, link);
      return link;
    },
    /** Takes back the disks of a container that has ended. */
    async release(id: string): Promise<void> {
      for (const name of linksOf(id)) {
        const device = readlinkSync(`${disksDir}/${name}`);
        // Still mounted for a moment it goes with its last user.
        await run(["losetup", "--detach", device]).catch(() => {});
        rmSync(`${disksDir}/${name}`, { force: true });
      }
    },
    writeOut: async (): Promise<void> => void (await run(["sync"])),
    close: (): void => driver.close(),
  };
}

type Deps = { node: string; socket: string; init: string; disksDir: string; log(line: string): void };

/** A volume that was not unmounted, or was made larger, is put in order by its user before our kernel reads it. */
async function fitFileSystem(file: string, uid: number): Promise<void> {
  if (needsReplay(file)) await checkFileSystem(file, uid);
  // Forced, or it would ask for a full check, which leaves a lost+found behind.
  await asUser(uid, "resize2fs", "-f", file);
}
