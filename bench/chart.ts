/**
 * The README's chart: bulk, datagrams, names and connections of each peer, in units of libslirp's. Its figures are those of
 * the first table of docs/performance.md, so that nobody can draw others.
 */

/** The rows that are drawn: the whole of what a network does, with those where tslirp gains least. */
const ROWS: readonly (readonly [row: string, label: string])[] = [
  ["TCP up, 1 stream", "TCP, guest to host"],
  ["TCP down, 1 stream", "TCP, host to guest"],
  ["TCP down, 8 streams", "the same, 8 streams"],
  ["UDP up, 64 B", "UDP, 64 bytes, up"],
  ["new connections, 32 at once", "new connections"],
  ["DNS queries, 16 at once", "DNS queries"],
];
const PEERS = ["tslirp", "passt", "libslirp", "slirp4netns"] as const;
/** Bars end here; what is longer says its figure all the same. */
const MOST = 7;

const WIDTH = 880;
const LEFT = 160;
const RIGHT = 60;
const TOP = 56;
const BAR = 13;
const GROUP = PEERS.length * BAR + 16;

interface Theme {
  readonly text: string;
  readonly faint: string;
  readonly line: string;
  readonly bars: readonly string[];
}

export const THEMES: Readonly<Record<"light" | "dark", Theme>> = {
  light: { text: "#1f2328", faint: "#59636e", line: "#d1d9e0", bars: ["#0969da", "#8250df", "#818b98", "#bf8700"] },
  dark: { text: "#f0f6fc", faint: "#9198a1", line: "#3d444d", bars: ["#4493f8", "#ab7df8", "#9198a1", "#d29922"] },
};

/** What the chart shows: a row's figure of each peer over libslirp's; null where a run failed. */
export interface ChartData {
  /** "2026-11-27; AMD EPYC, 2 cores" */
  readonly source: string;
  readonly rows: readonly { readonly label: string; readonly ratios: readonly (number | null)[] }[];
}

/** Reads docs/performance.md. Throws where a row or a peer is not in its first table. */
export function chartData(performance: string): ChartData {
  const report = performance.split("<!-- bench:system begin -->\n")[1]!;
  const machine = /^(.+?, \d+ cores)/.exec(report)![1]!;
  const date = /\d{4}-\d\d-\d\d/.exec(report)![0];
  const lines = report.split("\n").filter((line) => line.startsWith("| "));
  const cells = (line: string): string[] => line.split("|").map((cell) => cell.trim());
  const columns = PEERS.map((peer) => cells(lines[0]!).indexOf(peer));
  if (columns.includes(-1)) throw new Error(`docs/performance.md has no column of ${PEERS[columns.indexOf(-1)]}`);
  const rows = ROWS.map(([name, label]) => {
    const line = lines.find((each) => cells(each)[1] === name);
    if (line === undefined) throw new Error(`docs/performance.md has no row "${name}"`);
    const figures = columns.map((column) => Number.parseFloat(cells(line)[column]!.replaceAll(",", "")));
    const one = figures[PEERS.indexOf("libslirp")]!;
    return { label, ratios: figures.map((figure) => (Number.isNaN(figure) ? null : figure / one)) };
  });
  return { source: `${date}; ${machine}`, rows };
}

/** The picture, without a background: it stands on the page's. */
export function chart({ source, rows }: ChartData, { text, faint, line, bars }: Theme): string {
  const height = TOP + rows.length * GROUP + 34;
  const x = (ratio: number): number => LEFT + (Math.min(ratio, MOST) / MOST) * (WIDTH - LEFT - RIGHT);
  const words = (at: number, y: number, what: string, colour: string, anchor = "start", size = 13): string =>
    `<text x="${at.toFixed(1)}" y="${y.toFixed(1)}" fill="${colour}" text-anchor="${anchor}" font-size="${size}">${what}</text>`;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" role="img" aria-label="Throughput and rates at an MTU of 1500, in units of libslirp's">`,
    ...PEERS.flatMap((peer, i) => [
      `<rect x="${LEFT + i * 110}" y="10" width="12" height="12" rx="2" fill="${bars[i]}"/>`,
      words(LEFT + i * 110 + 18, 21, peer, text),
    ]),
    ...Array.from({ length: MOST + 1 }, (_, ratio) => ratio).flatMap((ratio) => [
      `<path d="M${x(ratio).toFixed(1)} ${TOP - 8}V${height - 30}" stroke="${line}"${ratio === 1 ? ' stroke-width="2"' : ""}/>`,
      words(x(ratio), TOP - 14, `${ratio} ×`, faint, "middle", 12),
    ]),
  ];
  rows.forEach(({ label, ratios }, r) => {
    const top = TOP + r * GROUP;
    parts.push(words(LEFT - 10, top + (PEERS.length * BAR) / 2 + 4, label, text, "end"));
    ratios.forEach((ratio, i) => {
      const y = top + i * BAR;
      if (ratio !== null)
        parts.push(
          `<rect x="${LEFT}" y="${y}" width="${(x(ratio) - LEFT).toFixed(1)}" height="${BAR - 2}" fill="${bars[i]}"/>`,
        );
      const figure = ratio === null ? "failed" : ratio.toFixed(1);
      parts.push(words((ratio === null ? LEFT : x(ratio)) + 5, y + BAR - 3, figure, faint, "start", 11));
    });
  });
  parts.push(
    words(LEFT, height - 8, `libslirp = 1, MTU 1500. ${source}. All rows: docs/performance.md`, faint, "start", 12),
  );
  return `${parts.join("\n")}\n</svg>\n`;
}
