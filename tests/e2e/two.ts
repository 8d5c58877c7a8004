/** Two nodes of one control plane, each in a network namespace of its own, with a cable between. */
import { startNode, type TestNode } from "./node.ts";

/** The first has the control plane; the second is called "other" there. */
export async function startTwo(name: string, init: string[] = [], built = false): Promise<[TestNode, TestNode]> {
  const cable = `hlw${process.pid % 10_000}`;
  const [here, there] = ["192.0.2.1", "192.0.2.2"];
  const plug = (end: string, address: string) => async (ns: string) => {
    await Bun.$`ip link set ${end} netns ${ns} && ip -n ${ns} address add ${address}/24 dev ${end} && ip -n ${ns} link set ${end} up`.quiet();
  };
  const lay = async (ns: string): Promise<void> => {
    await Bun.$`ip link add ${cable}a type veth peer name ${cable}b`.quiet();
    await plug(`${cable}a`, here)(ns);
  };
  const a = await startNode(`${name}-a`, [...init, "--address", here], { built, wire: lay });
  const { join } = JSON.parse(await a.ok(a.vps("node", "add", "other", "--address", there, "--json"))) as { join: string };
  return [a, await startNode(`${name}-b`, init, { built, wire: plug(`${cable}b`, there), join })];
}
