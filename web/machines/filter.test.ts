import { expect, test } from "bun:test";
import type { Machine } from "#contract/resources/machine.ts";
import { machineFilter } from "./filter.ts";

const machine = (name: string, more: object = {}) =>
  ({
    id: `m-${name}`,
    name,
    state: "running",
    power: "running",
    labels: {},
    node: "n-1",
    exposures: [],
    observed: null,
    spec: { image: "nginx:1.27", runtime: null },
    ...more,
  }) as unknown as Machine;
const all = [
  machine("api-prod", { labels: { team: "core", tier: "1" } }),
  machine("api-test", { state: "failed", node: "n-2" }),
  machine("db", {
    labels: { team: "data" },
    spec: { image: "postgres:17", runtime: "docker" },
    exposures: [{ port: 5432, hostPort: 15432 }],
  }),
];
const found = (query: string) => all.filter(machineFilter(query, new Map([["n-1", "fra1"]]))).map((m) => m.name);

test("words of names, keys with values, and all of them together", () => {
  expect(found("")).toEqual(["api-prod", "api-test", "db"]);
  expect(found("API")).toEqual(["api-prod", "api-test"]);
  expect(found("api state:failed")).toEqual(["api-test"]);
  expect(found("label:team")).toEqual(["api-prod", "db"]);
  expect(found("label:team=core")).toEqual(["api-prod"]);
  expect([found("node:fra1"), found("node:n-2")]).toEqual([["api-prod", "db"], ["api-test"]]);
  expect([found("image:postgres"), found("runtime:docker"), found("port:15432")]).toEqual([["db"], ["db"], ["db"]]);
  expect([found("m-db"), found("nothing:here")]).toEqual([["db"], []]);
});
