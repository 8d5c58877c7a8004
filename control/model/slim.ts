/** Ten thousand machines of one image and one spec need not hold ten thousand copies of them: reducers replace values and never change them. */
import type { State, StoredMachine } from "./state.ts";

/** More different ones than this, and the least is gained by keeping them. */
const ALIKE_MAX = 512;

/** The machine with its image and spec shared with others that have the same. */
export function slim<T extends Pick<StoredMachine, "spec" | "image">>(state: State, machine: T): T {
  return { ...machine, spec: shared(state, machine.spec), image: machine.image && shared(state, machine.image) };
}

function shared<T extends object>({ alike }: State, value: T): T {
  const key = JSON.stringify(value);
  const there = alike.get(key) as T | undefined;
  if (there) return there;
  if (alike.size >= ALIKE_MAX) alike.clear();
  alike.set(key, value);
  return value;
}
