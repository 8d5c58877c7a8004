import { expect, test } from "bun:test";
import { splitSshWords } from "./ssh.ts";

test("ssh's own flags keep their values; what follows is the command", () => {
  expect(splitSshWords(["-N", "-L", "8080:localhost:80"])).toEqual({ flags: ["-N", "-L", "8080:localhost:80"], command: [] });
  expect(splitSshWords(["-NL", "8080:localhost:80"])).toEqual({ flags: ["-NL", "8080:localhost:80"], command: [] });
  expect(splitSshWords(["-L8080:localhost:80", "-v", "ls", "-la"])).toEqual({
    flags: ["-L8080:localhost:80", "-v"],
    command: ["ls", "-la"],
  });
  expect(splitSshWords(["-t", "--", "-odd-command"])).toEqual({ flags: ["-t"], command: ["-odd-command"] });
  expect(splitSshWords(["uname", "-a"])).toEqual({ flags: [], command: ["uname", "-a"] });
});
