/**
 * Two builds row by row: what the one has of the other, and whether that can be told from chance.
 *
 * The figures of one run belong together: both builds did the same work one after the other, so what the machine did meanwhile
 * fell on both. What counts is the ratio within a run. Ratios are averaged as logarithms, and Student's t gives the interval that
 * holds the true one in 95 of 100 such reports. A row is faster or slower when 1 is outside that interval.
 */
import { type Results, samplesOf, sectionsOf, sound } from "./report.ts";
import { ROWS, type Row } from "./rows.ts";

/** Of 95 %, both sides, by degrees of freedom from 1; beyond the table it is the normal distribution's within a tenth. */
const STUDENT = [12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14];
const BEYOND = 2.09;
/** From so many runs on something is said. */
export const LEAST_RUNS = 3;

export type Verdict = "faster" | "slower" | "no difference that can be told" | "too few runs" | "failed";

export interface Comparison {
  /** Now as a multiple of before; NaN where there is none. */
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
  readonly verdict: Verdict;
}

/** Of pairs of figures, each of one run. */
export function compare(
  pairs: readonly (readonly [before: number, now: number])[],
  better: "more" | "less",
): Comparison {
  const logs = pairs.map(([before, now]) => Math.log(now / before));
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const ratio = Math.exp(mean);
  if (logs.length < LEAST_RUNS) return { ratio, low: Number.NaN, high: Number.NaN, verdict: "too few runs" };
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1);
  const half = (STUDENT[logs.length - 2] ?? BEYOND) * Math.sqrt(variance / logs.length);
  const [low, high] = [Math.exp(mean - half), Math.exp(mean + half)];
  let verdict: Verdict = "no difference that can be told";
  if (low > 1) verdict = better === "more" ? "faster" : "slower";
  else if (high < 1) verdict = better === "more" ? "slower" : "faster";
  return { ratio, low, high, verdict };
}

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
      const { ratio, low, high, verdict } = compare(failed ? [] : pairsOf(results.runs, row, both), row.better);
      const cells = failed
        ? ["", "", "failed"]
        : [times(ratio), Number.isNaN(low) ? "" : `${times(low)}–${times(high)}`, verdict];
      lines.push(`| ${row.name} | ${cells.join(" | ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function pairsOf(runs: number, row: Row, [before, now]: ReturnType<typeof samplesOf>[]): [number, number][] {
  const pairs: [number, number][] = [];
  for (let run = 0; run < runs; run++) {
    const [a, b] = [before, now].map((of) => of!.find((sample) => sample.run === run));
    const [was, is] = [a, b].map((sample) => (sample === undefined ? undefined : row.value(sample.figures)));
    if (was !== undefined && is !== undefined && was > 0 && is > 0) pairs.push([was, is]);
  }
  return pairs;
}

const times = (ratio: number): string => (Number.isNaN(ratio) ? "" : ratio.toFixed(2));
