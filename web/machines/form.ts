/** The form for a new machine: to what the API takes, and to the command that does the same. Pure. */
import type { BodyInput } from "#contract/schemas.ts";
import { parseMib } from "#contract/size.ts";

export type Form = {
  name: string;
  image: string;
  cpu: string;
  memory: string;
  disk: string;
  command: string;
  env: string;
  ports: string;
  labels: string;
  runtime: string;
  restart: string;
  start: boolean;
};

export const EMPTY_FORM: Form = {
  name: "",
  image: "debian:12",
  cpu: "1",
  memory: "512M",
  disk: "10G",
  command: "",
  env: "",
  ports: "",
  labels: "",
  runtime: "",
  restart: "on-failure",
  start: true,
};

const words = (text: string): string[] =>
  text
    .trim()
    .split(/[\s,]+/)
    .filter(Boolean);
/** Quoted words stay together. */
const argvOf = (text: string): string[] => [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((m) => m[1] ?? m[2] ?? m[3]!);

export function requestFor(f: Form): BodyInput<"createMachine"> {
  return {
    name: f.name.trim(),
    labels: readLabels(f.labels),
    exposures: words(f.ports).map((p) => {
      const [hostPort, port = hostPort] = p.split(":");
      return { hostPort: Number(hostPort), port: Number(port), protocol: "tcp" as const };
    }),
    start: f.start,
    spec: {
      image: f.image.trim(),
      cpu: Number(f.cpu),
      memoryMib: parseMib(f.memory)!,
      diskMib: parseMib(f.disk)!,
      env: readLabels(f.env),
      restart: f.restart,
      ...(f.command.trim() && { cmd: argvOf(f.command) }),
      ...(f.runtime && { runtime: f.runtime }),
    },
  };
}

/** `vps up` for a system, `vps run -d` where it says what runs; only what differs from what is usual. */
export function commandFor(f: Form): string {
  const run = f.command.trim() !== "" || f.ports.trim() !== "" || f.runtime === "docker";
  const flags = [
    ...(f.cpu === EMPTY_FORM.cpu ? [] : [run ? `--cpus ${f.cpu}` : `--cpu ${f.cpu}`]),
    ...(f.memory === EMPTY_FORM.memory ? [] : [run ? `-m ${f.memory}` : `--ram ${f.memory}`]),
    ...(f.disk === EMPTY_FORM.disk ? [] : [`--disk ${f.disk}`]),
    ...words(f.env).map((e) => `${run ? "-e" : "--env"} ${e}`),
    ...words(f.labels).map((l) => `--label ${l}`),
    ...(f.runtime ? [`--runtime ${f.runtime}`] : []),
  ];
  const name = f.name.trim() || "NAME";
  if (!run) return ["vps up", name, ...(f.image === EMPTY_FORM.image ? [] : [`--image ${f.image}`]), ...flags].join(" ");
  // Here the command line has another default.
  const restart = f.restart === "no" ? [] : [`--restart ${f.restart}`];
  return [
    "vps run -d --name",
    name,
    ...words(f.ports).map((p) => `-p ${p.includes(":") ? p : `${p}:${p}`}`),
    ...restart,
    ...flags,
    f.image,
    f.command.trim(),
  ]
    .join(" ")
    .trim();
}

export function writeLabels(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([key, value]) => (value ? `${key}=${value}` : key))
    .join(" ");
}

export function readLabels(text: string): Record<string, string> {
  const words = text
    .trim()
    .split(/[\s,]+/)
    .filter(Boolean);
  return Object.fromEntries(words.map((w) => [w.split("=", 1)[0]!, w.includes("=") ? w.slice(w.indexOf("=") + 1) : ""]));
}
