/** Operations on templates. Nodes make, keep and lose them by themselves, so what there is, is what they last reported. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Node } from "#contract/resources/other.ts";
import { MachineSpec } from "#contract/resources/machine.ts";
import type { Template } from "#contract/resources/template.ts";
import { workloadOf } from "#contract/resources/workload.ts";
import type { NewEvent, State } from "#control/model/state.ts";
import type { Handlers } from "./handler.ts";
import { imageFor } from "./machines.ts";

type Names = "listTemplates" | "buildTemplate" | "removeTemplate" | "pruneTemplates";

export const templateHandlers: Pick<Handlers, Names> = {
  listTemplates: ({ store }) => ({ items: templates(store.state), next: null }),
  async buildTemplate({ store, connections, images }, { body, token }) {
    const { cpu, memoryMib, diskMib } = body;
    const image = imageFor(store.state, body.image);
    const workload = workloadOf("template", MachineSpec.parse({ image: body.image }), image);
    const system = workload?.kind === "system" ? { rootfs: image.rootfs, init: workload.init, diskMib } : null;
    const nodes = [...store.state.node.values()].filter((n) =>
      body.node === null ? n.connected : n.name === body.node || n.id === body.node,
    );
    if (!nodes.length)
      throw new HyperlaneError("NOT_FOUND", body.node === null ? "No node is connected." : `There is no node "${body.node}".`, {
        hint: "`vps node list` shows all.",
      });
    const built = await Promise.all(
      nodes.map(async ({ id }) => {
        if (system) await images.bring(id, image);
        return { node: id, key: (await connections.buildTemplate(id, { cpu, memoryMib, system })).key };
      }),
    );
    return {
      events: built.map(({ node, key }) => ({
        type: "v1.TemplateBuilt",
        subject: node,
        actor: token.id,
        data: { key, image: body.image },
      })),
      result: () => ({ items: templates(store.state).filter((t) => built.some((b) => b.key === t.key)), next: null }),
    };
  },
  async removeTemplate({ store, connections }, { params, token }) {
    const all = templates(store.state);
    const asked = params.template ?? "";
    const found = asked === "" ? [] : all.filter((t) => t.key.startsWith(asked));
    const [template] = found;
    if (!template || new Set(found.map((t) => t.key)).size > 1)
      throw new HyperlaneError(
        "NOT_FOUND",
        `${template ? "More than one template begins" : "There is no template that begins"} with "${asked}".`,
        {
          hint: "`vps template list` shows all.",
        },
      );
    const events = await remove(store.state, connections, found, token.id);
    return { events, result: () => template };
  },
  async pruneTemplates({ store, connections }, { token }) {
    const all = templates(store.state).filter((t) => t.state === "ready" || t.state === "failed");
    const events = await remove(store.state, connections, all, token.id);
    const freedBytes = all.reduce((sum, t) => sum + t.bytes, 0);
    return { events, result: () => ({ removed: all.map((t) => t.key), freedBytes }) };
  },
};

async function remove(
  state: State,
  connections: Parameters<Handlers["pruneTemplates"]>[0]["connections"],
  gone: Template[],
  actor: string,
): Promise<NewEvent[]> {
  const byNode = [...Map.groupBy(gone, (t) => t.node)].map(([name, list]) => ({
    node: nodeNamed(state, name),
    keys: list.map((t) => t.key),
  }));
  await Promise.all(byNode.map(({ node, keys }) => connections.removeTemplates(node.id, keys)));
  return byNode.map(({ node, keys }) => ({ type: "v1.TemplatesRemoved", subject: node.id, actor, data: { keys } }));
}

function nodeNamed(state: State, name: string): Node {
  return [...state.node.values()].find((n) => n.name === name)!;
}

function templates(state: State): Template[] {
  const images = [...state.image.values()];
  return [...state.node.values()].flatMap(({ name: node, status }) =>
    (status?.templates ?? []).map((t) => ({
      ...t,
      node,
      image: images.find((i) => t.rootfs !== null && i.rootfs === t.rootfs)?.name ?? null,
    })),
  );
}
