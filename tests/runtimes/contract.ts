/** What every runtime promises, as one suite: a class that passes it can be used in place of another. */
import { expect } from "bun:test";
import { TimeoutError, type Runtime } from "#runtimes/runtime.ts";

/** execs: whether commands can be run in what was made. lasts: its workload goes on until it is ended. */
export type Made = { runtime: Runtime; execs: boolean; /** Of what it was made with. */ cpus: number; memoryMib: number };

export const CONTRACT: Record<string, (made: Made) => Promise<void>> = {
  async "it is pending before it starts, and has no process"({ runtime }) {
    expect([runtime.isRunning(), runtime.getPid()]).toEqual([false, null]);
    await runtime.start();
    await runtime.stop();
  },
  async "start, pause, resume and stop change what it says of itself"({ runtime, cpus, memoryMib }) {
    await runtime.start();
    const { pid, status, ...info } = await runtime.getInfo();
    expect([status, pid, runtime.isRunning(), runtime.getPid()]).toEqual(["running", pid, true, pid]);
    expect(pid).toBeGreaterThan(0);
    expect(() => process.kill(pid!, 0)).not.toThrow();
    expect(info).toMatchObject({ id: runtime.id, type: runtime.type, cpus, memoryMib, version: expect.stringMatching(/\d/) });
    await runtime.pause();
    expect((await runtime.getInfo()).status).toBe("paused");
    await runtime.resume();
    expect((await runtime.getInfo()).status).toBe("running");
    await runtime.stop();
    expect([runtime.isRunning(), runtime.getPid()]).toEqual([false, null]);
    expect((await runtime.getInfo()).status).toBe("stopped");
  },
  async "a command's output, error output and exit code come back, and it may not take too long"({ runtime, execs }) {
    if (!execs) return;
    await runtime.start();
    expect(await runtime.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])).toEqual({ exitCode: 3, stdout: "out\n", stderr: "err\n" });
    expect((await runtime.exec(["sh", "-c", "kill -9 $$"])).exitCode).toBe(137);
    const big = await runtime.exec(["head", "-c", "300000", "/dev/zero"]);
    expect(big.stdout.length).toBe(300_000);
    expect(await runtime.exec(["sleep", "30"], 300).catch((e) => e)).toBeInstanceOf(TimeoutError);
    expect((await runtime.exec(["echo", "still there"])).stdout).toBe("still there\n");
    await runtime.stop();
  },
  async "shutdown ends it, and wait says so"({ runtime }) {
    await runtime.start();
    const waited = runtime.wait();
    await runtime.shutdown(2_000);
    expect(await waited).toBeNumber();
    expect(runtime.isRunning()).toBe(false);
    // And once more.
    await runtime.shutdown(100);
  },
};
