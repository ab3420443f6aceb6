/** SECURITY.md, docs/limits.md and docs/robustness.md say which test proves each line: that test must be there. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/config.ts";
import { DROP_REASONS } from "../../src/core/trace.ts";

test.each(["SECURITY.md", "docs/limits.md", "docs/robustness.md"])("every test that %s names is there", (document) => {
  const named = [...readFileSync(document, "utf8").matchAll(/`(test\/[^`]+\.ts)` "([^"]+)"/g)];
  expect(named.length).toBeGreaterThan(5);
  for (const [, file, words] of named) expect(readFileSync(file!, "utf8"), `${file} "${words}"`).toContain(words);
});

test("docs/limits.md names every limit there is, and counters that are", () => {
  const text = readFileSync("docs/limits.md", "utf8");
  for (const limit of Object.keys(DEFAULT_LIMITS)) expect(text).toContain(`\`limits.${limit}\``);
  const counters = [...text.matchAll(/\| ([a-z]+-[a-z-]+) \|/g)].map(([, counter]) => counter);
  for (const counter of counters) expect(DROP_REASONS).toContain(counter);
});
