/** The one program for developers: `bun scripts/main.ts guest|build|tidy`. */
import { buildExecutable } from "./build.ts";
import { buildGuest } from "./guest.ts";

const COMMANDS: Record<string, () => Promise<void>> = { guest: buildGuest, build: buildExecutable };
const command = COMMANDS[process.argv[2] ?? ""];
if (!command) {
  process.stderr.write(`Which? ${Object.keys(COMMANDS).join(", ")}\n`);
  process.exit(2);
}
await command();
