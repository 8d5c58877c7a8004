/** Pulling and pushing with a bar: layers as they come, on a terminal; one line at the end elsewhere. */
import { HyperlaneError } from "#contract/errors.ts";
import type { Image } from "#contract/resources/image.ts";
import { registryAuth } from "#cli/docker-config.ts";
import type { Output } from "#cli/render/output.ts";
import type { Client } from "#sdk/client.ts";

type Layer = { digest: string; size: number; done: number; state: "waiting" | "moving" | "there" | "done" };
type Message = { progress?: Layer; image?: Image };

const WIDTH = 24;

export async function transferImage(
  client: Client,
  out: Output,
  operation: "pullImage" | "pushImage",
  query: { image: string; platform?: string | undefined; insecure: boolean },
): Promise<Image> {
  const layers = new Map<string, Layer>();
  const done = Promise.withResolvers<Image>();
  const auth = registryAuth(query.image);
  const stream = await client.stream(
    operation,
    { query, ...(auth !== undefined && { headers: { "x-registry-auth": auth } }) },
    {
      message: () => {},
      text(text) {
        const { progress, image } = JSON.parse(text) as Message;
        if (image) done.resolve(image);
        if (!progress) return;
        layers.set(progress.digest, progress);
        out.progress(bar(query.image, [...layers.values()]));
      },
      close: (error) => done.reject(error ?? new HyperlaneError("UNAVAILABLE", "The connection to the control plane was lost.")),
    },
  );
  const leave = (): void => {
    stream.close();
    out.note(`\nStopped. What has come is kept: the same command goes on from there.`);
    process.exit(130);
  };
  process.once("SIGINT", leave);
  try {
    return await done.promise;
  } finally {
    process.off("SIGINT", leave);
    out.progress(null);
    stream.close();
  }
}

function bar(name: string, layers: Layer[]): string {
  const size = layers.reduce((n, l) => n + l.size, 0);
  const done = layers.reduce((n, l) => n + (l.state === "there" || l.state === "done" ? l.size : l.done), 0);
  const whole = layers.filter((l) => l.state === "there" || l.state === "done").length;
  const filled = Math.round((size ? done / size : 1) * WIDTH);
  return `${name}  [${"█".repeat(filled)}${"░".repeat(WIDTH - filled)}] ${formatBytes(done)} of ${formatBytes(size)}, ${whole} of ${layers.length} layers`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
