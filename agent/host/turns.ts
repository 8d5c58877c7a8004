/** So many at once, and the others in the order in which they came. */
export type Turns = ReturnType<typeof createTurns>;

export function createTurns(atOnce: number) {
  let busy = 0;
  const queue: (() => void)[] = [];

  /** Rejects where the signal comes first. */
  async function wait(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => {
      // Not if it is its turn by now.
      if (!queue.includes(resolve)) return;
      queue.splice(queue.indexOf(resolve), 1);
      reject(signal!.reason);
    };
    queue.push(resolve);
    signal?.addEventListener("abort", leave);
    await promise;
    signal?.removeEventListener("abort", leave);
  }

  return {
    get idle(): boolean {
      return busy === 0;
    },
    async turn<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
      if (busy >= atOnce) await wait(signal);
      else busy++;
      try {
        return await work();
      } finally {
        const next = queue.shift();
        if (next) next();
        else busy--;
      }
    },
  };
}
