import { expect, test } from "bun:test";
import { MachineCreate } from "#contract/resources/machine.ts";
import { commandFor, EMPTY_FORM, readLabels, requestFor, writeLabels, type Form } from "./form.ts";

const form = (more: Partial<Form> = {}): Form => ({ ...EMPTY_FORM, name: "api", ...more });

test("what the form gives is what the API takes", () => {
  const full = form({
    command: `sh -c "sleep 1; echo 'hi'"`,
    env: "A=1 B=x=y",
    ports: "8080:80 9000",
    labels: "team=core spot",
    runtime: "docker",
    restart: "no",
    start: false,
  });
  const taken = MachineCreate.parse(requestFor(full));
  expect([taken.spec.cmd, taken.spec.env, taken.labels, taken.start]).toEqual([
    ["sh", "-c", "sleep 1; echo 'hi'"],
    { A: "1", B: "x=y" },
    { team: "core", spot: "" },
    false,
  ]);
  expect(taken.exposures.map((e) => [e.hostPort, e.port])).toEqual([
    [8080, 80],
    [9000, 9000],
  ]);
  expect(MachineCreate.parse(requestFor(form())).spec).toEqual(MachineCreate.parse({ name: "api" }).spec);
});

test("the command beside it does the same", () => {
  expect(commandFor(form())).toBe("vps up api");
  expect(commandFor(form({ cpu: "2", memory: "2G", labels: "team=core" }))).toBe("vps up api --cpu 2 --ram 2G --label team=core");
  expect(commandFor(form({ image: "nginx", ports: "8080:80", env: "A=1" }))).toBe(
    "vps run -d --name api -p 8080:80 --restart on-failure -e A=1 nginx",
  );
});

test("labels are read as they are written", () => {
  for (const labels of [{}, { a: "" }, { team: "core", v: "1=2" }] as Record<string, string>[])
    expect(readLabels(writeLabels(labels))).toEqual(labels);
});
