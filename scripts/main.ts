/** The one program for developers: `bun scripts/main.ts COMMAND`. */
import { benchBoot } from "#bench/boot.ts";
import { benchCli } from "#bench/cli.ts";
import { benchContainers } from "#bench/containers.ts";
import { benchControl } from "#bench/control.ts";
import { benchImages } from "#bench/images.ts";
import { benchInstant } from "#bench/instant.ts";
import { benchMove } from "#bench/move.ts";
import { benchReads } from "#bench/reads.ts";
import { benchWeb } from "#bench/web.ts";
import { buildExecutable, buildRelease } from "./build.ts";
import { buildGuest } from "./guest.ts";
import { buildKernel } from "./kernel.ts";
import { buildPackages } from "./packages.ts";
import { takeScreenshots } from "./screenshots.ts";
import { getFirecracker } from "./peers.ts";
import { runSimulation } from "./sim.ts";
import { runTidy } from "./tidy.ts";
import { buildWeb } from "./web.ts";

const COMMANDS: Record<string, () => Promise<void>> = {
  guest: buildGuest,
  kernel: buildKernel,
  build: buildExecutable,
  release: buildRelease,
  packages: buildPackages,
  firecracker: getFirecracker,
  screenshots: takeScreenshots,
  sim: runSimulation,
  tidy: runTidy,
  web: buildWeb,
  "bench-boot": benchBoot,
  "bench-cli": benchCli,
  "bench-containers": benchContainers,
  "bench-control": benchControl,
  "bench-images": benchImages,
  "bench-instant": benchInstant,
  "bench-move": benchMove,
  "bench-reads": benchReads,
  "bench-web": benchWeb,
};
const command = COMMANDS[process.argv[2] ?? ""];
if (!command) {
  process.stderr.write(`Which? ${Object.keys(COMMANDS).join(", ")}\n`);
  process.exit(2);
}
await command();
