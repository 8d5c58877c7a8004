/**
 * `bench-reads`: reads of a file in the root, in a machine and in a container of the same image, in the same run: in
 * sequence for the first time, again from the kernel's cache, and at random after dropping it from there. Needs root,
 * build/guest and docker.io.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { startNode } from "#tests/e2e/node.ts";
import { startDocker } from "#tests/oci/docker.ts";
import { tarOf, writeLayout } from "#tests/oci/peers.ts";
import { sh } from "#scripts/sh.ts";
import { report } from "./report.ts";

const FILE_BYTES = 48 * 2 ** 20;
const ROUNDS = 3;
type Seen = { first: number; again: number; random: number };

/** Prints MB/s of the first and the second read of the whole, and µs of each of 2,000 random reads of 4 KiB. */
const READER = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int main(void) {
    static char b[1 << 20];
    int fd = open("/big", O_RDONLY);
    double mbs[2], size = 0;
    for (int i = 0; i < 2; i++) {
        double from = now();
        size = 0;
        lseek(fd, 0, SEEK_SET);
        for (long n; (n = read(fd, b, sizeof b)) > 0;) size += n;
        mbs[i] = size / 1e6 / (now() - from);
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    srandom(1);
    double from = now();
    for (int i = 0; i < 2000; i++) pread(fd, b, 4096, random() % (long)(size / 4096) * 4096L);
    printf("{\\"first\\":%f,\\"again\\":%f,\\"random\\":%f}\\n", mbs[0], mbs[1], (now() - from) / 2000 * 1e6);
}`;

export async function benchReads(): Promise<void> {
  const [node, docker] = await Promise.all([startNode("reads"), startDocker()]);
  try {
    const root = `${node.home}/root`;
    mkdirSync(root);
    writeFileSync(`${root}/big`, realBytes());
    writeFileSync(`${node.home}/reader.c`, READER);
    await sh(["gcc", "-O2", "-static", "-o", `${root}/reader`, `${node.home}/reader.c`]);
    cpSync("/bin/busybox", `${root}/busybox`);
    writeLayout(`${node.home}/layout`, "1", [await tarOf(root)], { Cmd: ["/reader"] });
    await sh(["tar", "-C", `${node.home}/layout`, "-cf", `${node.home}/layout.tar`, "."]);
    await node.ok(node.vps("image", "load", "-i", `${node.home}/layout.tar`, "--name", "reads"));
    await node.ok(node.vps("image", "save", "reads:1", "-o", `${node.home}/saved.tar`));
    await docker.docker("load", "-i", `${node.home}/saved.tar`);
    const [ours, theirs]: Seen[][] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      ours!.push(JSON.parse(await node.ok(node.vps("run", "--rm", "reads:1"))) as Seen);
      theirs!.push(JSON.parse((await docker.docker("run", "--rm", "--network", "none", "reads:1")).out) as Seen);
    }
    const best = (list: Seen[] | undefined, what: keyof Seen): number =>
      (what === "random" ? Math.min : Math.max)(...list!.map((s) => s[what]));
    const ratio = (what: keyof Seen): number => best(ours, what) / best(theirs, what);
    report([
      { name: "read whole for the first time, in a machine", value: best(ours, "first"), unit: "MB/s" },
      { name: "the same in a container", value: best(theirs, "first"), unit: "MB/s" },
      { name: "machine / container, first", value: ratio("first"), unit: "", goal: { at: "least", value: 0.5 } },
      { name: "machine / container, from the kernel's cache: what the CPU alone costs", value: ratio("again"), unit: "" },
      { name: "a random read of 4 KiB, in a machine", value: best(ours, "random"), unit: "µs" },
      { name: "machine / container, random", value: ratio("random"), unit: "", goal: { at: "most", value: 2 } },
    ]);
  } finally {
    await docker.close();
    await node.close();
  }
}

/** As compressible as programs are. */
function realBytes(): Buffer {
  const dir = "/usr/lib/x86_64-linux-gnu";
  const pieces: Buffer[] = [];
  let size = 0;
  for (const name of readdirSync(dir).sort()) {
    if (size >= FILE_BYTES) break;
    if (!name.includes(".so") || !statSync(`${dir}/${name}`).isFile()) continue;
    pieces.push(readFileSync(`${dir}/${name}`));
    size += pieces.at(-1)!.length;
  }
  return Buffer.concat(pieces).subarray(0, FILE_BYTES);
}
