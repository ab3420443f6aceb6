/** ARCHITECTURE.md and CONTRIBUTING.md name files: each is there. */
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

/** Files as these documents write them: below `src/`, without `.ts`; or from the repository's top. */
const PATH = /`((?:[\w.-]+\/)+[\w.*-]*)`/g;
const there = (name: string): boolean =>
  [name, `src/${name}`, `src/${name}.ts`, `test/${name}`, `src/nat/${name}`, `src/nat/${name}.ts`].some((each) =>
    existsSync(each),
  );

it.each(["ARCHITECTURE.md", "CONTRIBUTING.md"])("each file that %s names is there", (document) => {
  const text = readFileSync(document, "utf8").replace(/```[\s\S]*?```/g, "");
  const named = [...text.matchAll(PATH)].map(([, name]) => name!);
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((name) => !/NAME|BEFORE|^dist\/$|^\/|\*|^host\/udp/.test(name) && !there(name))).toEqual([]);
});

it("the diagram's parts are floors, or parts of one", () => {
  const diagram = readFileSync("ARCHITECTURE.md", "utf8").split("```")[1]!;
  for (const [name] of diagram.matchAll(/\b(?:nat|proto|flow)\/\w+/g)) expect(there(name), name).toBe(true);
});
