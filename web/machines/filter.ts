/** What is typed to find machines: words of a name, and `state:failed`, `label:team=core`, `node:`, `image:`, `runtime:`, `port:`. Pure. */
import type { Machine } from "#contract/resources/machine.ts";
import { doing } from "#contract/resources/words.ts";

/** names: of nodes, by id. */
type Names = ReadonlyMap<string, string>;
type Test = (machine: Machine) => boolean;

const KEYS: Record<string, (value: string, names: Names) => Test> = {
  state: (v) => (m) => m.state === v || doing(m) === v || m.observed?.health === v,
  label: (v) => {
    const [key = "", value] = v.split(/=(.*)/s);
    return (m) => (value === undefined ? key in m.labels : m.labels[key] === value);
  },
  node: (v, names) => (m) => m.node !== null && (m.node === v || names.get(m.node) === v),
  image: (v) => (m) => m.spec.image.includes(v),
  runtime: (v) => (m) => (m.spec.runtime ?? "qemu") === v,
  port: (v) => (m) => m.exposures.some((e) => String(e.hostPort) === v || String(e.port) === v),
};
export const FILTER_KEYS = Object.keys(KEYS);

/** All of the words must hold. */
export function machineFilter(query: string, names: Names): Test {
  const tests = query
    .trim()
    .split(/\s+/)
    .filter(Boolean)
    .map((word): Test => {
      const [, key = "", value = ""] = /^(\w+):(.*)$/.exec(word) ?? [];
      if (Object.hasOwn(KEYS, key)) return KEYS[key]!(value, names);
      const part = word.toLowerCase();
      return (m) => m.name.includes(part) || m.id === word || m.observed?.address4 === word || m.observed?.address6 === word;
    });
  return (m) => tests.every((t) => t(m));
}
