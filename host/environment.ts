/**
 * The environment that `hyperlane init` reads: the variables of the Hypeman specification, by their names there. A flag
 * says more than a variable; what neither says stays as it was. They are kept in control.json and agent.json. Pure.
 */
import { HyperlaneError } from "#contract/errors.ts";
import { parseMib } from "#contract/size.ts";

export type Environment = {
  port?: number;
  bridge?: string;
  subnet?: string;
  uplink?: string;
  jwtSecret?: string;
  dnsServer?: string;
  maxBuilds?: number;
  maxDiskMib?: number;
  disableAuth?: boolean;
};

const SUBNET = /^\d{1,3}(\.\d{1,3}){3}\/(1[2-9]|2\d)$/;
/** IFNAMSIZ, less its NUL; a dash comes first in no interface's name. */
const INTERFACE = /^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}$/;
const SECRET_MIN = 16;

/** Each: the field it sets, what it must be, and its value; undefined where it is not that. */
const VARIABLES: Record<string, { field: keyof Environment; must: string; read(text: string): string | number | boolean | undefined }> = {
  PORT: { field: "port", must: "a port from 1 to 65534", read: (t) => whole(t, 1, 65534) },
  BRIDGE_NAME: { field: "bridge", must: "an interface name of up to 15 characters", read: (t) => (INTERFACE.test(t) ? t : undefined) },
  SUBNET_CIDR: { field: "subnet", must: "an IPv4 network like 10.100.0.0/16", read: (t) => (SUBNET.test(t) ? t : undefined) },
  UPLINK_INTERFACE: { field: "uplink", must: "an interface name", read: (t) => (INTERFACE.test(t) ? t : undefined) },
  JWT_SECRET: { field: "jwtSecret", must: `at least ${SECRET_MIN} characters`, read: (t) => (t.length >= SECRET_MIN ? t : undefined) },
  DNS_SERVER: { field: "dnsServer", must: "an IP address", read: (t) => (isAddress(t) ? t : undefined) },
  MAX_CONCURRENT_BUILDS: { field: "maxBuilds", must: "a number from 1 to 64", read: (t) => whole(t, 1, 64) },
  DISABLE_AUTH: { field: "disableAuth", must: "true or false", read: (t) => (/^(true|false)$/.test(t) ? t === "true" : undefined) },
  MAX_OVERLAY_SIZE: { field: "maxDiskMib", must: "a size like 100GB", read: parseMib },
};

/** An empty variable counts as none. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Environment {
  const found: Environment = {};
  for (const [name, { field, must, read }] of Object.entries(VARIABLES)) {
    const text = env[name];
    if (!text) continue;
    const value = read(text);
    if (value === undefined) {
      const said = field === "jwtSecret" ? "" : `, not "${text}"`;
      throw new HyperlaneError("INVALID", `${name} in the environment must be ${must}${said}.`, {
        field: name,
        hint: `Correct it, or: unset ${name}`,
      });
    }
    Object.assign(found, { [field]: value });
  }
  return found;
}

function whole(text: string, least: number, most: number): number | undefined {
  const value = Number(text);
  return /^\d+$/.test(text) && value >= least && value <= most ? value : undefined;
}

function isAddress(text: string): boolean {
  return /^(\d{1,3}\.){3}\d{1,3}$/.test(text) ? text.split(".").every((b) => Number(b) < 256) : /^[0-9a-fA-F:]*:[0-9a-fA-F:]+$/.test(text);
}
