import { expect, test } from "bun:test";
import fc from "fast-check";
import { familiarName, formatReference, parseReference } from "./reference.ts";

const D = `sha256:${"a".repeat(64)}`;
/** As Docker reads them: [text, registry, repository, tag, digest, familiar form]. */
const GOOD: [string, string, string, string | null, string | null, string][] = [
  ["nginx", "docker.io", "library/nginx", "latest", null, "nginx:latest"],
  ["nginx:1.27", "docker.io", "library/nginx", "1.27", null, "nginx:1.27"],
  ["library/nginx", "docker.io", "library/nginx", "latest", null, "nginx:latest"],
  ["docker.io/nginx", "docker.io", "library/nginx", "latest", null, "nginx:latest"],
  ["index.docker.io/library/nginx:a", "docker.io", "library/nginx", "a", null, "nginx:a"],
  ["owner/app", "docker.io", "owner/app", "latest", null, "owner/app:latest"],
  ["ghcr.io/owner/app:v1", "ghcr.io", "owner/app", "v1", null, "ghcr.io/owner/app:v1"],
  ["localhost/app", "localhost", "app", "latest", null, "localhost/app:latest"],
  ["localhost:5000/a/b/c", "localhost:5000", "a/b/c", "latest", null, "localhost:5000/a/b/c:latest"],
  ["127.0.0.1:5000/app:v1", "127.0.0.1:5000", "app", "v1", null, "127.0.0.1:5000/app:v1"],
  ["[::1]:5000/app", "[::1]:5000", "app", "latest", null, "[::1]:5000/app:latest"],
  ["UPPER/app", "UPPER", "app", "latest", null, "UPPER/app:latest"],
  ["a__b/c-d.e", "docker.io", "a__b/c-d.e", "latest", null, "a__b/c-d.e:latest"],
  [`nginx@${D}`, "docker.io", "library/nginx", null, D, "nginx:latest"],
  [`nginx:1@${D}`, "docker.io", "library/nginx", "1", D, "nginx:1"],
];
const BAD = [
  "",
  "Nginx",
  "nginx:",
  ":tag",
  "a//b",
  "a/",
  "/a",
  "-a",
  "a..b",
  "app:tag with space",
  "app@sha256:abc",
  "app@md5:00",
  "https://x/y",
  `a${"b".repeat(260)}`,
  "a\0b",
  "a/b:c:d",
];

test("references mean what Docker means by them", () => {
  for (const [text, registry, repository, tag, digest, familiar] of GOOD) {
    const parsed = parseReference(text);
    expect([text, parsed]).toEqual([text, { registry, repository, tag, digest }]);
    expect(familiarName(parsed!)).toBe(familiar);
    expect(parseReference(formatReference(parsed!))).toEqual(parsed);
  }
  for (const text of BAD) expect([text, parseReference(text)]).toEqual([text, undefined]);
});

test("whatever is read is written so that it is read again as the same", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-zA-Z0-9./:@_-]{0,60}$/), (text) => {
      const parsed = parseReference(text);
      if (parsed) expect(parseReference(formatReference(parsed))).toEqual(parsed);
    }),
  );
});
