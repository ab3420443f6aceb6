/** The README's chart is what docs/performance.md says. `npx vitest run test/docs/chart.test.ts --update` draws it anew. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { chart, chartData, THEMES } from "../../bench/chart.ts";

const data = chartData(readFileSync("docs/performance.md", "utf8"));

it.each([
  ["light", "speed.svg"],
  ["dark", "speed-dark.svg"],
] as const)("the %s chart has the table's figures", async (theme, file) => {
  await expect(chart(data, THEMES[theme])).toMatchFileSnapshot(path.resolve("docs/images", file));
});

it("says when and where it was measured, and hides no run that failed", () => {
  expect(data.source).toMatch(/^\d{4}-\d\d-\d\d; .+, \d+ cores$/);
  expect(data.rows.flatMap(({ ratios }) => ratios)).toContain(null);
  expect(() => chartData(readFileSync("docs/performance.md", "utf8").replace("| UDP up, 64 B |", "| other |"))).toThrow(
    'no row "UDP up, 64 B"',
  );
});
