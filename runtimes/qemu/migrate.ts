/**
 * A machine's way to another QEMU while it runs (docs/devel/migration.rst; docs/interop/live-block-operations.rst, "QMP invocation
 * for live storage migration with drive-mirror + NBD"). First its disk is copied, and from then on kept alike; then its RAM. Right before the end
 * it stands still, and what was written last reaches the other disk; then the devices follow.
 */
import type { Mover } from "../driver.ts";
import type { Qmp } from "./qmp.ts";

const POLL_MS = 5;
const JOB = "moving";
/** How long it may stand still for the last of its RAM; and no bound for the rest but the wire's. */
const PARAMETERS = { "downtime-limit": 200, "max-bandwidth": 10 * 2 ** 30 };
/** Also one that writes faster than can be sent comes to an end: it is slowed down. */
const CAPABILITIES = { "pause-before-switchover": true, "auto-converge": true };

type Migration = { status?: string; "error-desc"?: string };
type Job = { device: string; ready: boolean; "io-status": string };

/** disk: the node behind its disk. */
export function moverOf(qmp: Qmp, disk: string): Mover {
  return {
    async send(to, signal) {
      await configure(qmp);
      await qmp.execute("blockdev-add", {
        ...{ driver: "nbd", "node-name": JOB, export: disk, server: { type: "unix", path: to.disk } },
        discard: "unmap",
      });
      await qmp.execute("blockdev-mirror", { "job-id": JOB, device: disk, target: JOB, sync: "full", "on-target-error": "report" });
      await until(signal, async () => {
        const job = await jobOf(qmp);
        if (!job) throw new Error("its disk could not be copied");
        return job.ready;
      });
      await qmp.execute("migrate", { uri: `unix:${to.memory}` });
      await until(signal, async () => (await progress(qmp)) === "pre-switchover");
      const since = Date.now();
      await endJob(qmp, false);
      await qmp.execute("migrate-continue", { state: "pre-switchover" });
      await until(signal, async () => (await progress(qmp)) === "completed");
      await forget(qmp);
      return since;
    },
    async cancel() {
      await qmp.execute("migrate_cancel");
      const over = async (): Promise<boolean> =>
        !["active", "setup", "cancelling", "pre-switchover", "device"].includes(await statusOf(qmp));
      await until(AbortSignal.timeout(10_000), over);
      await endJob(qmp, true);
      await forget(qmp);
      await qmp.execute("cont");
    },
  };
}

/** What the other end makes ready: where the disk is written to, and the RAM. */
export async function awaitMigration(qmp: Qmp, disk: string, at: { disk: string; memory: string }): Promise<void> {
  await configure(qmp);
  await qmp.execute("nbd-server-start", { addr: { type: "unix", data: { path: at.disk } } });
  await qmp.execute("block-export-add", { type: "nbd", id: "disk", "node-name": disk, name: disk, writable: true });
  await qmp.execute("migrate-incoming", { uri: `unix:${at.memory}` });
}

export async function untilArrived(qmp: Qmp, signal: AbortSignal): Promise<void> {
  await until(signal, async () => (await progress(qmp)) === "completed");
  await qmp.execute("nbd-server-stop");
}

/** Both ends are told the same. */
async function configure(qmp: Qmp): Promise<void> {
  const capabilities = Object.entries(CAPABILITIES).map(([capability, state]) => ({ capability, state }));
  await qmp.execute("migrate-set-capabilities", { capabilities });
  await qmp.execute("migrate-set-parameters", PARAMETERS);
}

async function statusOf(qmp: Qmp): Promise<string> {
  return ((await qmp.execute("query-migrate")) as Migration).status ?? "none";
}

/** Throws where it has come to another end. */
async function progress(qmp: Qmp): Promise<string> {
  const { status = "none", "error-desc": why } = (await qmp.execute("query-migrate")) as Migration;
  if (status === "failed" || status === "cancelled") throw new Error(`its RAM could not be sent: ${why ?? status}`);
  return status;
}

async function jobOf(qmp: Qmp): Promise<Job | undefined> {
  return ((await qmp.execute("query-block-jobs")) as Job[]).find((j) => j.device === JOB);
}

/** Its last writes are over there by then; or, by force, it is simply given up. */
async function endJob(qmp: Qmp, force: boolean): Promise<void> {
  if (await jobOf(qmp)) await qmp.execute("block-job-cancel", { device: JOB, force });
  await until(AbortSignal.timeout(30_000), async () => !(await jobOf(qmp)));
}

async function forget(qmp: Qmp): Promise<void> {
  const nodes = (await qmp.execute("query-named-block-nodes", { flat: true })) as { "node-name": string }[];
  if (nodes.some((n) => n["node-name"] === JOB)) await qmp.execute("blockdev-del", { "node-name": JOB });
}

async function until(signal: AbortSignal, holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) {
    signal.throwIfAborted();
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}
