/** Every link in the documents leads to a file, and to a heading, that is there. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";

const PAGES = [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "bench/README.md"],
  ...["examples/README.md"],
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md") && name !== "api.md")
    .map((name) => `docs/${name}`),
];

/** A heading as GitHub makes an anchor of it. */
const anchor = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

function anchors(file: string): Set<string> {
  return new Set([...readFileSync(file, "utf8").matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading!)));
}

function links(page: string): string[] {
  const text = readFileSync(page, "utf8").replace(/```[\s\S]*?```/g, "");
  const inline = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  const sources = [...text.matchAll(/\b(?:src|srcset)="([^"]+)"/g)].map(([, link]) => link!);
  return [...inline, ...sources].filter((link) => !/^[a-z]+:/.test(link));
}

it.each(PAGES)("the links of %s", (page) => {
  const broken = links(page).filter((link) => {
    const [file = "", fragment] = link.split("#");
    const target = file === "" ? page : path.join(path.dirname(page), file);
    return !existsSync(target) || (fragment !== undefined && target.endsWith(".md") && !anchors(target).has(fragment));
  });
  expect(broken).toEqual([]);
});

it("the README has no more than 250 lines", () => {
  expect(readFileSync("README.md", "utf8").split("\n").length).toBeLessThanOrEqual(250);
});
