/**
 * Two builds row by row: what the one has of the other, and whether that can be told from chance.
 *
 * The figures of one run belong together: both builds did the same work one after the other, so what the machine did meanwhile
 * fell on both. What counts is the ratio within a run. A row is faster or slower when 1 is outside its interval (`statistics.ts`).
 */
import { pairsOf, type Results, samplesOf, sectionsOf, sound } from "./report.ts";
import { ROWS } from "./rows.ts";
import { compare } from "./statistics.ts";

/** A table of `now` beside `before`, two of the report's peers. */
export function comparison(results: Results, before: string, now: string): string {
  const lines: string[] = [];
  for (const section of sectionsOf(results)) {
    lines.push(
      "",
      `| ${section.title} | this is, of ${before} | 95 % within | verdict |`,
      "| --- | ---: | ---: | --- |",
    );
    for (const row of ROWS) {
      const samples = samplesOf(results, row, section);
      const both = [before, now].map((peer) => samples.filter((sample) => sample.peer === peer));
      if (both.some((of) => of.length === 0)) continue;
      const failed = both.flat().some((sample) => !sound(sample.figures));
      const pairs = failed ? [] : pairsOf(results, row, section, before, now);
      const { ratio, low, high, verdict } = compare(pairs, row.better);
      const cells = failed
        ? ["", "", "failed"]
        : [times(ratio), Number.isNaN(low) ? "" : `${times(low)}–${times(high)}`, verdict];
      lines.push(`| ${row.name} | ${cells.join(" | ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

const times = (ratio: number): string => (Number.isNaN(ratio) ? "" : ratio.toFixed(2));
