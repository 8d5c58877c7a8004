/** Runs as PID 1 of a machine with an emulated IOMMU (iommu.test.ts): what an agent does with devices, on a kernel's own sysfs. */
import { existsSync } from "node:fs";
import { openDevices } from "#agent/host/devices.ts";

const say = (what: string, value: unknown): void => console.log(`\nIOMMU ${what} ${JSON.stringify(value)}`);
const devices = openDevices();
const there = () => devices.list().filter((d) => d.kind === "network");
try {
  const [alone, , ...rest] = there();
  say("found", there());
  const taken: unknown[] = [];
  const lent = devices.lend([alone!.address], (t) => taken.splice(0, taken.length, ...t));
  say("lent", { ...lent, taken, driver: there()[0]!.driver, files: lent.groups.map((g) => existsSync(`/dev/vfio/${g}`)) });
  devices.takeBack(taken as never);
  say("back", there()[0]!.driver);
  const shared = rest.find((d) => d.unavailable !== null) ?? null;
  say(
    "shared",
    shared &&
      String(
        (() => {
          try {
            devices.lend([shared.address], () => {});
          } catch (thrown) {
            return thrown;
          }
        })(),
      ),
  );
} catch (thrown) {
  say("failed", String(thrown));
}
