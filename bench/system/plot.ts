/** The plot: bulk throughput by cable and streams, one bar a peer, with the spread of the runs as a line. */
import { picture, words } from "../svg.ts";
import { peersOf, type Results, sectionsOf, spread } from "./report.ts";
import { ROWS, type Row, type Section } from "./rows.ts";

const COLOURS = ["#1f6feb", "#d29922", "#2da44e", "#8250df", "#6e7781", "#cf222e"];
const BAR = 22;
const GAP = 26;
const HEIGHT = 260;
const LEFT = 46;
const TOP = 30;
const FOOT = 70;

export function svg(results: Results): string {
  const peers = peersOf(results);
  const rows = ROWS.filter((row) => row.unit === "Gbit/s");
  const groups = sectionsOf(results).flatMap((section) =>
    rows
      .filter((row) => peers.some((peer) => spread(results, row, section, peer) !== null))
      .map((row) => ({ section, row })),
  );
  const values = groups.flatMap(({ section, row }) =>
    peers.map((peer) => spread(results, row, section, peer)?.high ?? 0),
  );
  const top = Math.max(1, Math.ceil(Math.max(...values)));
  const step = top > 10 ? 2 : 1;
  const y = (gbit: number): number => TOP + HEIGHT - (gbit / top) * HEIGHT;
  const width = LEFT + groups.length * (peers.length * BAR + GAP) + GAP;
  const parts: string[] = [];
  for (let gbit = 0; gbit <= top; gbit += step) {
    parts.push(`<line x1="${LEFT}" x2="${width - 8}" y1="${y(gbit)}" y2="${y(gbit)}" stroke="#d0d7de"/>`);
    parts.push(words(LEFT - 6, y(gbit) + 4, String(gbit), "end"));
  }
  parts.push(words(8, 16, "Gbit/s"));
  groups.forEach(({ section, row }, g) => {
    const left = LEFT + GAP + g * (peers.length * BAR + GAP);
    parts.push(...peers.flatMap((peer, i) => bar(results, row, section, peer, left + i * BAR, y, COLOURS[i % 6]!)));
    const middle = left + (peers.length * BAR) / 2;
    parts.push(words(middle, TOP + HEIGHT + 16, row.name.replace("TCP ", ""), "middle"));
    parts.push(words(middle, TOP + HEIGHT + 32, section.title, "middle"));
  });
  peers.forEach((peer, i) => {
    const x = LEFT + i * 110;
    parts.push(`<rect x="${x}" y="${TOP + HEIGHT + 46}" width="12" height="12" fill="${COLOURS[i % 6]}"/>`);
    parts.push(words(x + 18, TOP + HEIGHT + 56, peer));
  });
  const height = TOP + HEIGHT + FOOT;
  return picture(width, height, parts);
}

function bar(
  results: Results,
  row: Row,
  section: Section,
  peer: string,
  x: number,
  y: (gbit: number) => number,
  colour: string,
): string[] {
  const s = spread(results, row, section, peer);
  if (s === null) return [];
  const at = y(s.middle).toFixed(1);
  const high = (y(0) - y(s.middle)).toFixed(1);
  const middle = x + BAR / 2 - 1;
  return [
    `<rect x="${x}" y="${at}" width="${BAR - 2}" height="${high}" fill="${colour}"><title>${peer}: ${s.middle.toFixed(2)} Gbit/s</title></rect>`,
    `<line x1="${middle}" x2="${middle}" y1="${y(s.high).toFixed(1)}" y2="${y(s.low).toFixed(1)}" stroke="#24292f"/>`,
  ];
}
