/** A soak drawn: memory, handles, flows and timers over time, with the times at which the line was bad. */
import { picture, words } from "../../bench/svg.ts";
import type { Sample } from "./samples.ts";

interface Curve {
  readonly name: string;
  readonly colour: string;
  readonly of: (sample: Sample) => number;
}

interface Panel {
  readonly title: string;
  readonly curves: readonly Curve[];
}

const MIB = 1_048_576;
const PANELS: readonly Panel[] = [
  {
    title: "Memory, MiB",
    curves: [
      { name: "resident", colour: "#1f6feb", of: (s) => s.rss / MIB },
      { name: "held by V8", colour: "#8250df", of: (s) => s.heapHeld / MIB },
      { name: "JavaScript heap", colour: "#2da44e", of: (s) => s.heap / MIB },
      { name: "buffers", colour: "#d29922", of: (s) => s.external / MIB },
    ],
  },
  {
    title: "Handles, flows, timers",
    curves: [
      { name: "handles", colour: "#cf222e", of: (s) => s.handles },
      { name: "TCP flows", colour: "#1f6feb", of: (s) => s.tcpFlows },
      { name: "UDP flows", colour: "#2da44e", of: (s) => s.udpFlows },
      { name: "timers", colour: "#8250df", of: (s) => s.timers },
    ],
  },
  {
    title: "Bytes in send buffers, KiB",
    curves: [{ name: "send buffers", colour: "#6e7781", of: (s) => s.sendBytes / 1024 }],
  },
];
const LEFT = 60;
const WIDTH = 900;
const HEIGHT = 180;
const GAP = 64;
const TOP = 40;

export function svg(samples: readonly Sample[], title: string): string {
  const end = Math.max(1, samples.at(-1)?.seconds ?? 1);
  const x = (seconds: number): number => LEFT + (seconds / end) * WIDTH;
  const parts = [words(LEFT, 18, title, "start", 14)];
  PANELS.forEach((panel, i) => {
    parts.push(...drawPanel(panel, samples, TOP + i * (HEIGHT + GAP), x, end));
  });
  const height = TOP + PANELS.length * (HEIGHT + GAP);
  return picture(LEFT + WIDTH + 20, height, parts);
}

function drawPanel(
  { title, curves }: Panel,
  samples: readonly Sample[],
  top: number,
  x: (seconds: number) => number,
  end: number,
): string[] {
  const most = Math.max(1, ...samples.flatMap((s) => curves.map(({ of }) => of(s))));
  const step = niceStep(most / 4);
  const scale = Math.ceil(most / step) * step;
  const y = (value: number): number => top + 20 + (1 - value / scale) * (HEIGHT - 20);
  const parts = [words(LEFT, top + 8, title)];
  // Where the line was bad.
  for (let i = 1; i < samples.length; i++) {
    if (samples[i]!.line === "") continue;
    const [from, to] = [x(samples[i - 1]!.seconds), x(samples[i]!.seconds)];
    parts.push(
      `<rect x="${from.toFixed(1)}" y="${top + 20}" width="${(to - from).toFixed(1)}" height="${HEIGHT - 20}" fill="#fff3e0"/>`,
    );
  }
  for (let value = 0; value <= scale; value += step) {
    parts.push(`<line x1="${LEFT}" x2="${LEFT + WIDTH}" y1="${y(value)}" y2="${y(value)}" stroke="#d0d7de"/>`);
    parts.push(words(LEFT - 6, y(value) + 4, String(Math.round(value * 10) / 10), "end"));
  }
  curves.forEach(({ name, colour, of }, i) => {
    const points = samples.map((s) => `${x(s.seconds).toFixed(1)},${y(of(s)).toFixed(1)}`).join(" ");
    parts.push(`<polyline points="${points}" fill="none" stroke="${colour}"/>`);
    parts.push(`<rect x="${LEFT + 260 + i * 140}" y="${top - 2}" width="10" height="10" fill="${colour}"/>`);
    parts.push(words(LEFT + 275 + i * 140, top + 8, name));
  });
  const minutes = end / 60;
  const every = niceStep(minutes / 6);
  for (let minute = 0; minute <= minutes; minute += every)
    parts.push(words(x(minute * 60), top + HEIGHT + 16, `${Math.round(minute * 100) / 100} min`, "middle"));
  return parts;
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least)!;
}
