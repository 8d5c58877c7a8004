import { expect, test } from "bun:test";
import { decodeTicket, encodeTicket } from "./ticket.ts";

test("what a host joins with is one word, and a cut one is none", () => {
  const ticket = { node: "n-1", address: "10.0.0.2:7421", tls: { ca: "-----BEGIN ÿ+/\n", key: "k", cert: "c" } };
  const word = encodeTicket(ticket);
  expect(word).toMatch(/^hlj_[\w-]+$/);
  expect(decodeTicket(word)).toEqual(ticket);
  for (const bad of [word.slice(0, -9), word.slice(4), "hlj_", "hlj_e30"]) expect(decodeTicket(bad)).toBeUndefined();
});
