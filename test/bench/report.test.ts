/** The table of `bench:system`: what it says of three runs, and of fewer. */
import { expect, it } from "vitest";
import { markdown, type Results } from "../../bench/system/report.ts";
import { MEASUREMENTS, ROWS } from "../../bench/system/rows.ts";

function results(rates: Readonly<Record<string, readonly number[]>>): Results {
  const samples = Object.entries(rates).flatMap(([peer, each]) =>
    each.map((rate, run) => ({ peer, section: "MTU 1500", run, measurement: "crr-32", figures: { rate } })),
  );
  const runs = Math.max(...Object.values(rates).map((each) => each.length));
  return { machine: "M", date: "D", join: "bridge", seconds: 1, runs, priority: 0, skipped: [], samples };
}

const row = (table: string): string => /^\| new connections, 32 at once .*$/m.exec(table)![0];

it("three runs have a mean with its interval, and a ratio within runs with its own", () => {
  // The machine was twice as fast in the second run: that is nothing to the ratio.
  const table = markdown(results({ tslirp: [2000, 4040, 1980], libslirp: [1000, 2000, 1000] }));
  expect(row(table)).toMatch(
    /\| 2,520 \(9\d\d–6,\d\d\d\) \| 1,260 \(4\d\d–3,\d\d\d\) \| 2\.00 × libslirp \(1\.9\d–2\.0\d; aim: ≥ 1\) \|$/,
  );
  expect(table).toContain("95 of 100");
});

it("two runs have a median and say how far they are apart, without a claim about others", () => {
  const table = markdown(results({ tslirp: [2000, 3000], libslirp: [1000, 1500] }));
  expect(row(table)).toContain("| 2,500 (2,000–3,000) | 1,250 (1,000–1,500) | 2.00 × libslirp (aim: ≥ 1) |");
  expect(table).not.toContain("95 of 100");
});

it("a figure below zero, as memory may be, has an interval too", () => {
  const { samples, ...rest } = results({ tslirp: [-0.9, -0.4, 0.1] });
  const idle = samples.map((s) => ({ ...s, measurement: "idle-1000", figures: { each: s.figures.rate! } }));
  expect(markdown({ ...rest, samples: idle })).toContain("| -0.4 (-1.6–0.8) |");
});

it("each measurement has a row, and each row a measurement", () => {
  expect(new Set(ROWS.map(({ from }) => from))).toEqual(new Set(MEASUREMENTS.map(({ key }) => key)));
});
