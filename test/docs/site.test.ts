/** typedoc.json: the site that `npm run docs` builds has every page of the guide, beside the reference. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

it("each page of docs/ is on the site, but for the declarations that the site has of its own", () => {
  const { projectDocuments } = JSON.parse(readFileSync("typedoc.json", "utf8")) as { projectDocuments: string[] };
  const pages = readdirSync("docs").filter((name) => name.endsWith(".md") && name !== "api.md");
  expect(projectDocuments).toEqual(expect.arrayContaining(pages.map((name) => `docs/${name}`)));
  for (const page of projectDocuments) expect(() => readFileSync(page), page).not.toThrow();
});
