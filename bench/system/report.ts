/** From single runs to a table: means with their intervals, or with few runs medians with the lowest and the highest. */

import type { Figures, Join } from "./rig.ts";
import { type Aim, ROWS, type Row, SECTIONS, type Section } from "./rows.ts";
import { compare, interval, LEAST_RUNS } from "./statistics.ts";

/** One measurement of one peer in one run. */
export interface Sample {
  readonly peer: string;
  /** Its title. */
  readonly section: string;
  readonly run: number;
  readonly measurement: string;
  readonly figures: Figures;
}

export interface Results {
  readonly machine: string;
  readonly date: string;
  /** How guest and peer were joined. */
  readonly join: Join;
  readonly seconds: number;
  readonly runs: number;
  /** The nice value that everything ran at. */
  readonly priority: number;
  /** Peers that this machine has not got, and why. */
  readonly skipped: readonly string[];
  readonly samples: readonly Sample[];
}

/** From three runs on the mean with its interval of 95 %; of fewer the median, the lowest and the highest. */
export interface Spread {
  readonly middle: number;
  readonly low: number;
  readonly high: number;
  /** How many runs gave a figure. */
  readonly count: number;
}

/** Whether bytes came as they were sent, and nothing was refused. A few lost connections or datagrams are told apart. */
export function sound(f: Figures): boolean {
  return (f.wrong ?? 0) === 0 && (f.failed ?? 0) <= (f.count ?? f.open ?? 0) / 100;
}

/** Null when no run gave a figure, or one gave a wrong one. */
export function spread(results: Results, row: Row, section: Section, peer: string): Spread | null {
  const samples = samplesOf(results, row, section).filter((s) => s.peer === peer);
  if (samples.length === 0 || samples.some((s) => !sound(s.figures))) return null;
  const values = samples.map((s) => row.value(s.figures)).filter((v) => v !== undefined);
  return values.length === 0 ? null : spreadOf(values);
}

/** Of one figure at least. */
export function spreadOf(figures: readonly number[]): Spread {
  const count = figures.length;
  if (count >= LEAST_RUNS) {
    const { mean, low, high } = interval(figures);
    return { middle: mean, low, high, count };
  }
  const values = figures.toSorted((a, b) => a - b);
  return { middle: (values[0]! + values.at(-1)!) / 2, low: values[0]!, high: values.at(-1)!, count };
}

/** "5.45 (5.16–5.67)"; the figure alone when it is the only one. */
export function spreadText({ middle, low, high, count }: Spread, digits: number): string {
  const text = number(middle, digits);
  return count === 1 ? text : `${text} (${number(low, digits)}–${number(high, digits)})`;
}

export function peersOf(results: Results): string[] {
  return [...new Set(results.samples.map((s) => s.peer))];
}

/** Those with a figure. */
export function sectionsOf(results: Results): Section[] {
  return SECTIONS.filter(({ title }) => results.samples.some((s) => s.section === title));
}

export function samplesOf(results: Results, row: Row, section: Section): Sample[] {
  return results.samples.filter((s) => s.measurement === row.from && s.section === section.title);
}

/** Figures of two peers, run by run: above zero, and sound. */
export function pairsOf(
  results: Results,
  row: Row,
  section: Section,
  before: string,
  now: string,
): (readonly [number, number])[] {
  const samples = samplesOf(results, row, section).filter(({ figures }) => sound(figures));
  const figure = (peer: string, run: number): number => {
    const sample = samples.find((each) => each.peer === peer && each.run === run);
    return sample === undefined ? 0 : (row.value(sample.figures) ?? 0);
  };
  return Array.from({ length: results.runs }, (_, run) => [figure(before, run), figure(now, run)] as const).filter(
    ([was, is]) => was > 0 && is > 0,
  );
}

const number = (value: number, digits: number): string =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function cell(results: Results, row: Row, section: Section, peer: string): string {
  const found = spread(results, row, section, peer);
  if (found !== null) return spreadText(found, row.digits);
  return samplesOf(results, row, section).some((s) => s.peer === peer) ? "failed" : "";
}

/** tslirp's figure, as a multiple of the peer's if it is held against one, and what it is to be. */
function compared(results: Results, row: Row, section: Section, { peer, wanted }: Aim): string[] {
  const ours = spread(results, row, section, "tslirp");
  const theirs = peer === null ? null : spread(results, row, section, peer);
  if (ours === null || (peer !== null && theirs === null)) return [];
  const aim = `aim: ${row.better === "more" ? "≥" : "≤"} ${wanted}`;
  if (peer === null) return [`${number(ours.middle, row.digits)} ${row.unit} (${aim})`];
  const { ratio, low, high } = compare(pairsOf(results, row, section, peer, "tslirp"), row.better);
  if (Number.isNaN(ratio)) return [];
  const within = Number.isNaN(low) ? "" : `${low.toFixed(2)}–${high.toFixed(2)}; `;
  return [`${ratio.toFixed(2)} × ${peer} (${within}${aim})`];
}

/** Processors that others on the machine have used, over all measurements. */
function disturbance(results: Results): number {
  const shares = results.samples.flatMap((s) => s.figures.foreign ?? []);
  return shares.reduce((a, b) => a + b, 0) / Math.max(1, shares.length);
}

const SPREAD = {
  many:
    "Means, with the interval that holds the true one in 95 of 100 such reports in brackets; " +
    "ratios are those within a run, with theirs.",
  few: "Medians, with the lowest and the highest in brackets.",
};

export function markdown(results: Results): string {
  const peers = peersOf(results);
  const lines: string[] = [
    `${results.machine}; ${results.date}; ${results.runs} ${results.runs === 1 ? "run" : "interleaved runs"}, ` +
      `${results.seconds} s each of bulk, after a second of the same that does not count (2.5 for connections one at a time). ` +
      `Guest and peer are joined by ${results.join === "bridge" ? "a small bridge in C" : "QEMU's hub"}; ` +
      `slirp4netns has a TAP of its own. ${SPREAD[results.runs >= LEAST_RUNS ? "many" : "few"]}`,
  ];
  const others = disturbance(results);
  if (others >= 0.1 || results.priority !== 0) {
    lines[0] += ` Meanwhile others used ${others.toFixed(1)} processors on average; all peers ran at nice ${results.priority}.`;
  }
  for (const skipped of results.skipped) lines.push("", `Not measured: ${skipped}.`);
  for (const section of sectionsOf(results)) {
    const here = peers.filter((peer) => results.samples.some((s) => s.peer === peer && s.section === section.title));
    lines.push("", `| ${section.title} | unit | ${here.join(" | ")} | tslirp is |`);
    lines.push(`| --- | --- |${" ---: |".repeat(here.length)} --- |`);
    for (const row of ROWS) {
      if (samplesOf(results, row, section).length === 0) continue;
      const cells = here.map((peer) => cell(results, row, section, peer));
      const aims = (row.aims[section.title] ?? []).flatMap((aim) => compared(results, row, section, aim));
      lines.push(`| ${row.name} | ${row.unit} | ${cells.join(" | ")} | ${aims.join(", ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}
