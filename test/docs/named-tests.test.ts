/** SECURITY.md, docs/limits.md and docs/robustness.md say which test proves each line: that test must be there. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { DROP_REASONS } from "../../src/core/trace.ts";

test.each(["SECURITY.md", "docs/limits.md", "docs/robustness.md"])("every test that %s names is there", (document) => {
  const named = [...readFileSync(document, "utf8").matchAll(/`(test\/[^`]+\.ts)` "([^"]+)"/g)];
  expect(named.length).toBeGreaterThan(5);
  for (const [, file, words] of named) expect(readFileSync(file!, "utf8"), `${file} "${words}"`).toContain(words);
});

test("docs/limits.md has a row for every limit there is and no other, with its default, and counters that are", () => {
  const rows = readFileSync("docs/limits.md", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| "));
  const told = rows.flatMap((row) =>
    [...row.matchAll(/\| `(\w+)` (\d+) (?=\|)/g)].map(([, name, cap]) => [name, Number(cap)]),
  );
  expect(told.length).toBe(Object.keys(DEFAULT_LIMITS).length);
  expect(Object.fromEntries(told)).toEqual(DEFAULT_LIMITS);
  const counters = rows.flatMap((row) =>
    [...row.matchAll(/\| ([a-z]+-[a-z-]+) (?=\|)/g)].map(([, counter]) => counter),
  );
  expect(counters.length).toBeGreaterThan(10);
  for (const counter of counters) expect(DROP_REASONS).toContain(counter);
});
