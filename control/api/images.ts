/** Operations on images. What they name is in the log; their bytes are in the blob store, and go once nothing refers to them. */
import { HyperlaneError } from "#contract/errors.ts";
import { imageName, type Image } from "#contract/resources/image.ts";
import { describeTarget, detail, findImage } from "#control/images/catalog.ts";
import { imageNamed, type NewEvent, type State } from "#control/model/state.ts";
import { demandAbility } from "./capabilities.ts";
import { demand, machineOf, type Handlers } from "./handler.ts";

type Names = "listImages" | "getImage" | "createImage" | "tagImage" | "removeImage" | "pruneImages";

export const imageHandlers: Pick<Handlers, Names> = {
  listImages: ({ store }) => ({ items: [...store.state.image.values()].sort((a, b) => (a.name < b.name ? -1 : 1)), next: null }),
  getImage: ({ store, images }, { params }) => detail(images.blobs, imageOf(store.state, params)),
  createImage({ store, newId }, { body, token }) {
    const machine = machineOf(store.state, { machine: body.from });
    demand(machine, "image");
    demandAbility(machine, "diskSnapshots");
    const there = imageNamed(store.state, body.name);
    if (there?.state === "creating")
      throw new HyperlaneError("CONFLICT", `The image "${body.name}" is being made already.`, { field: "name" });
    const id = newId("i");
    const forget: NewEvent[] = there ? [{ type: "v1.ImageRemoved", subject: there.id, actor: token.id, data: {} }] : [];
    return {
      events: [...forget, { type: "v1.ImageRequested", subject: id, actor: token.id, data: { name: body.name, from: machine.id } }],
      result: () => store.state.image.get(id)!,
    };
  },
  tagImage({ store, images, newId }, { params, body, token }) {
    const image = imageOf(store.state, params);
    if (image.state !== "ready" || image.target === null)
      throw new HyperlaneError("STATE", `The image "${image.name}" is ${image.state}, so it cannot be named anew.`);
    const id = imageNamed(store.state, body.name)?.id ?? newId("i");
    const data = { name: body.name, ...describeTarget(images.blobs, image.target) };
    return {
      events: [{ type: "v1.ImageStored", subject: id, actor: token.id, data }],
      result: () => store.state.image.get(id)!,
    };
  },
  removeImage({ store, images }, { params, token }) {
    const image = imageOf(store.state, params);
    const others = [...store.state.image.values()].some((i) => i.id !== image.id && i.digest === image.digest);
    const users = others ? [] : usersOf(store.state, image);
    if (users.length)
      throw new HyperlaneError(
        "CONFLICT",
        `The image "${image.name}" is used by ${users.slice(0, 5).join(", ")}${users.length > 5 ? ` and ${users.length - 5} more` : ""}.`,
        { hint: "Destroy them, or move them to another image, first." },
      );
    images.collectSoon();
    return { events: [{ type: "v1.ImageRemoved", subject: image.id, actor: token.id, data: {} }], result: () => image };
  },
  pruneImages({ store, images }, { token }) {
    const unused = [...store.state.image.values()].filter((i) => i.state !== "creating" && usersOf(store.state, i).length === 0);
    const freedBytes = images.freedBy(new Set(unused.map((i) => i.id)));
    images.collectSoon();
    return {
      events: unused.map((i) => ({ type: "v1.ImageRemoved", subject: i.id, actor: token.id, data: {} })),
      result: () => ({ removed: unused.map((i) => i.name).sort(), freedBytes }),
    };
  },
};

function imageOf(state: State, { image = "" }: Record<string, string>): Image {
  return findImage(state, image, imageName(image));
}

function usersOf(state: State, image: Image): string[] {
  return [...state.machine.values()].filter((m) => m.image?.digest === image.digest || m.spec.image === image.name).map((m) => m.name);
}
