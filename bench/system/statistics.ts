/**
 * What runs tell: a mean with the interval that holds the true one in 95 of 100 such reports (Student's t). Rates and times are
 * averaged as logarithms, since what disturbs a run multiplies it.
 */

/** Of 95 %, both sides, by degrees of freedom from 1; beyond the table it is the normal distribution's within a tenth. */
const STUDENT = [12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14];
const BEYOND = 2.09;
/** From so many runs on something is said. */
export const LEAST_RUNS = 3;

export interface Interval {
  readonly mean: number;
  /** NaN with too few runs. */
  readonly low: number;
  readonly high: number;
}

/** Of one figure at least; where one is not above zero, the mean is the arithmetic one. */
export function interval(figures: readonly number[]): Interval {
  const rates = figures.every((figure) => figure > 0);
  const values = rates ? figures.map(Math.log) : figures;
  const back = rates ? Math.exp : (x: number) => x;
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length < LEAST_RUNS) return { mean: back(mean), low: Number.NaN, high: Number.NaN };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  const half = (STUDENT[values.length - 2] ?? BEYOND) * Math.sqrt(variance / values.length);
  return { mean: back(mean), low: back(mean - half), high: back(mean + half) };
}

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
  const { mean: ratio, low, high } = interval(pairs.map(([before, now]) => now / before));
  let verdict: Verdict = "no difference that can be told";
  if (pairs.length < LEAST_RUNS) verdict = "too few runs";
  else if (low > 1) verdict = better === "more" ? "faster" : "slower";
  else if (high < 1) verdict = better === "more" ? "slower" : "faster";
  return { ratio, low, high, verdict };
}
