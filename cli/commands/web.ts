/** `vps web`: a browser that is signed in. The link's code stands behind #, which browsers send to no server. */
import { HyperlaneError } from "#contract/errors.ts";
import { JSON_FLAG, type Command } from "#cli/command.ts";
import { readContext } from "#cli/config.ts";

export const web: Command = {
  name: "web",
  usage: "vps web [--no-open]",
  summary: "Open the web UI, signed in",
  examples: ["vps web", "vps web --no-open", "ssh -L 7420:127.0.0.1:7420 HOST vps web --no-open   # then open the link here"],
  args: [0, 0],
  flags: { "no-open": { type: "boolean", help: "Print the link, and open nothing" }, json: JSON_FLAG },
  async run({ client, flags, out }) {
    const { path, expiresAt } = await client().createLink();
    const url = `${readContext().url}${path}`;
    out.data({ url, expiresAt });
    out.line(url);
    if (flags["no-open"] || out.json || !(await opened(url)))
      return out.note("Open it in a browser within five minutes. It signs one browser in, once, for a week.");
    out.note("Opened in your browser, signed in for a week. `vps web --no-open` prints the link alone.");
  },
};

/** false: there is no desktop here. */
async function opened(url: string): Promise<boolean> {
  const desktop = process.platform === "darwin" || process.env.DISPLAY || process.env.WAYLAND_DISPLAY;
  const program = Bun.which(process.platform === "darwin" ? "open" : "xdg-open");
  if (!desktop || !program) return false;
  const child = Bun.spawn([program, url], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const code = await Promise.race([child.exited, Bun.sleep(3000).then(() => 0)]);
  if (code !== 0) throw new HyperlaneError("FAILED", `${program} could not open it.`, { hint: `Open it yourself: ${url}` });
  child.unref();
  return true;
}
