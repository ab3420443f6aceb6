/** Throughput over time, up to ten minutes. The samples always fill the width, from the first ones on. */
import { ago, human } from "./words.js";

const MOST_SECONDS = 600;
const LEAST_SECONDS = 4;
/** Milliseconds between two samples from which the time between them is shown as a gap. */
const GAP_MILLIS = 3_000;
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300];

export class Plot {
  #canvas;
  #samples = [];

  constructor(canvas) {
    this.#canvas = canvas;
    addEventListener("resize", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /**
   * Adds a sample: `at` in milliseconds, rates in bits a second. Null rates make a gap: nobody looked, or nobody
   * answered.
   */
  add(at, up, down) {
    this.#samples.push({ at, up, down });
    while (this.#samples[0].at < at - MOST_SECONDS * 1000) this.#samples.shift();
    this.draw();
  }

  /**
   * Takes samples from the API, the oldest first: `ago` is in milliseconds before `now`. They replace the plot's own
   * samples of the same time.
   */
  fill(now, samples) {
    if (samples.length === 0) return;
    const from = now - samples[0].ago;
    const filled = this.#samples.filter(({ at }) => at < from);
    let last = filled.at(-1)?.at ?? null;
    for (const { ago, up, down } of samples) {
      const at = now - ago;
      if (last !== null && at - last > GAP_MILLIS) filled.push({ at: at - 1000, up: null, down: null });
      filled.push({ at, up, down });
      last = at;
    }
    this.#samples = filled;
    this.draw();
  }

  clear() {
    this.#samples = [];
    this.draw();
  }

  draw() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const { clientWidth: width, clientHeight: height } = canvas;
    const colour = (name) => getComputedStyle(document.querySelector(name)).color;
    const now = this.#samples.at(-1)?.at ?? 0;
    const seconds = Math.max(LEAST_SECONDS, (now - (this.#samples[0]?.at ?? now)) / 1000);
    const most = ceiling(Math.max(1000, ...this.#samples.flatMap(({ up, down }) => [up ?? 0, down ?? 0])));
    const bottom = height - 20;
    const x = (at) => width - ((now - at) / 1000 / seconds) * width;
    const y = (value) => bottom - (value / most) * (bottom - 16);
    paint.font = "12px system-ui, sans-serif";
    paint.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      paint.strokeStyle = getComputedStyle(canvas.parentElement).borderTopColor;
      line(paint, [
        [0, y(most * share)],
        [width, y(most * share)],
      ]);
    }
    paint.fillStyle = colour(".dim");
    const step = STEPS.find((each) => (each / seconds) * width > 90) ?? 300;
    for (let back = 0; back <= seconds; back += step) {
      const at = width - (back / seconds) * width;
      paint.textAlign = back === 0 ? "right" : at < 40 ? "left" : "center";
      paint.fillText(ago(back), at, height - 5);
    }
    paint.lineWidth = 2;
    for (const key of ["up", "down"]) {
      paint.strokeStyle = colour(`.legend .${key}`);
      let run = [];
      for (const each of [...this.#samples, { up: null, down: null }]) {
        if (each[key] !== null) run.push([x(each.at), y(each[key])]);
        else {
          if (run.length > 0) line(paint, run);
          run = [];
        }
      }
    }
    // The labels have an outline, so that they can be read in front of a line.
    paint.textAlign = "left";
    paint.lineWidth = 4;
    paint.strokeStyle = getComputedStyle(document.documentElement).backgroundColor;
    for (const share of [0.5, 1]) {
      const label = [human(most * share, "bit/s"), 2, y(most * share) - 3];
      paint.strokeText(...label);
      paint.fillText(...label);
    }
  }
}

function line(paint, points) {
  paint.beginPath();
  for (const [x, y] of points) paint.lineTo(x, y);
  paint.stroke();
}

/** The next number of 1, 2, 5, 10, 20, 50… that is not less than `value`. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((each) => each * power >= value) * power;
}

/** A small line plot of the latest rates, as wide as a word. */
export function sparkline(rates) {
  const name = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(name, "svg");
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, i) => `${(60 * i) / Math.max(1, rates.length - 1)},${15 - 14 * (rate / most)}`);
  const drawn = document.createElementNS(name, "polyline");
  drawn.setAttribute("points", points.join(" "));
  svg.setAttribute("viewBox", "0 0 60 16");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  svg.append(drawn);
  return svg;
}
