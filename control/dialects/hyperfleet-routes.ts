/** Hyperfleet's routes as a table: what each takes and answers, from which the checks and the description are made. Pure. */
import { z } from "zod";

export const STATUSES = ["pending", "starting", "running", "paused", "stopping", "stopped", "failed"] as const;
export type Status = (typeof STATUSES)[number];
export type Route = {
  name: string;
  method: "GET" | "POST" | "DELETE";
  path: string;
  summary: string;
  /** Of a good answer. */
  status: number;
  query?: Record<string, string>;
  body?: z.ZodType;
};

const Port = z.strictObject({
  host_port: z.int().min(1).max(65535),
  container_port: z.int().min(1).max(65535),
  protocol: z.enum(["tcp", "udp"]).default("tcp"),
});
const Volume = z.strictObject({
  host_path: z.string().min(1),
  container_path: z.string().startsWith("/", "must be an absolute path"),
  read_only: z.boolean().default(false),
});

/** runtime_type left out: what the host has. */
export const Create = z.strictObject({
  name: z.string(),
  runtime_type: z.enum(["firecracker", "cloud-hypervisor", "docker", "qemu"]).nullable().default(null),
  vcpu_count: z.int().min(1, "must be at least 1").default(1),
  mem_size_mib: z.int().min(128, "must be at least 128").default(512),
  kernel_image_path: z.string().optional(),
  kernel_args: z.string().optional(),
  rootfs_path: z.string().optional(),
  image: z.string().optional(),
  cmd: z.array(z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  env: z.record(z.string(), z.string()).default({}),
  ports: z.array(Port).default([]),
  volumes: z.array(Volume).default([]),
  working_dir: z.string().optional(),
  user: z.string().optional(),
  privileged: z.boolean().default(false),
  restart: z.string().default("no"),
});
export type Create = z.output<typeof Create>;

/** timeout: seconds. */
export const Exec = z
  .strictObject({
    command: z.array(z.string()).min(1).optional(),
    cmd: z.array(z.string()).min(1).optional(),
    timeout: z.number().min(0.1).max(3600).default(30),
  })
  .refine((b) => (b.command === undefined) !== (b.cmd === undefined), "needs `cmd` (or `command`), one of the two");
export type Exec = z.output<typeof Exec>;

const ONE = "/machines/{id}";
export const ROUTES: readonly Route[] = [
  {
    ...{ name: "listMachines", method: "GET", path: "/machines", summary: "All machines, the newest first", status: 200 },
    query: { status: STATUSES.join(", "), runtime_type: "firecracker, cloud-hypervisor, docker, qemu" },
  },
  {
    name: "createMachine",
    method: "POST",
    path: "/machines",
    summary: "Make a machine; it is pending until it is started",
    status: 201,
    body: Create,
  },
  { name: "getMachine", method: "GET", path: ONE, summary: "One machine, by id or name", status: 200 },
  { name: "deleteMachine", method: "DELETE", path: ONE, summary: "Stop it, and remove all of it", status: 204 },
  { name: "startMachine", method: "POST", path: `${ONE}/start`, summary: "Start it", status: 200 },
  { name: "stopMachine", method: "POST", path: `${ONE}/stop`, summary: "Stop it cleanly, by force where it does not answer", status: 200 },
  { name: "restartMachine", method: "POST", path: `${ONE}/restart`, summary: "Stop, then start", status: 200 },
  { name: "pauseMachine", method: "POST", path: `${ONE}/pause`, summary: "Freeze it where it stands", status: 200 },
  { name: "resumeMachine", method: "POST", path: `${ONE}/resume`, summary: "Let it go on", status: 200 },
  {
    ...{ name: "waitMachine", method: "GET", path: `${ONE}/wait`, summary: "Until it has a status", status: 200 },
    query: { status: `${STATUSES.join(", ")} (running)`, timeout: "seconds, 1 to 30 (30)" },
  },
  {
    name: "execInMachine",
    method: "POST",
    path: `${ONE}/exec`,
    summary: "Run a command in it: exit_code, stdout, stderr",
    status: 200,
    body: Exec,
  },
];
