/** One executable: the name it is called by picks the part that runs; `hyperlane vps ...` and `vps hyperlane ...` work too. */
import { basename } from "node:path";

const PARTS = ["vps", "hyperlane", "hyperlane-agent"];
const argv = process.argv.slice(2);
const called = basename(process.argv0);
const part = PARTS.includes(argv[0] ?? "") ? argv.shift()! : PARTS.includes(called) ? called : "vps";

if (part === "vps") {
  const { runVps } = await import("#cli/main.ts");
  process.exit(await runVps(argv));
} else {
  const { runHyperlane } = await import("./host/main.ts");
  process.exit(await runHyperlane(part === "hyperlane-agent" ? ["agent", ...argv] : argv));
}
