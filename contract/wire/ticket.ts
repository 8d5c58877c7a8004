/** What a host joins with: which node it is, where its agent listens, and the certificate by which the others know it. A secret. */
import { z } from "zod";

const Ticket = z.object({ node: z.string(), address: z.string(), tls: z.object({ ca: z.string(), key: z.string(), cert: z.string() }) });
export type JoinTicket = z.infer<typeof Ticket>;
const PREFIX = "hlj_";

/** One word, for a command line. */
export function encodeTicket(ticket: JoinTicket): string {
  return PREFIX + btoa(JSON.stringify(ticket)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** undefined: it is none. */
export function decodeTicket(word: string): JoinTicket | undefined {
  if (!word.startsWith(PREFIX)) return undefined;
  try {
    return Ticket.safeParse(JSON.parse(atob(word.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/")))).data;
  } catch {
    return undefined;
  }
}
