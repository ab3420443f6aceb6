/**
 * `npm run test:soak -- [--minutes N] [--seed N] [--out FOLDER] [--share S]`: long days in short (as root, with QEMU).
 *
 * Rounds of mixed traffic follow each other until the time is over; between them it rests, so that all of it together
 * uses a `share` of one processor. SIGINT ends it after the present round. Then what was kept open ends, and everything must be as it was at the first rest.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ownSeconds } from "../../bench/system/meter.ts";
import { replayFile } from "../../src/record/run.ts";
import { svg } from "./plot.ts";
import { markdown } from "./report.ts";
import { cardDrops, OUTSIDE, type Surroundings, startSoakRig } from "./rig.ts";
import { HELD, LINES, noLoad, round } from "./round.ts";
import { csv, growth, otherHandles, type Sample, takeSample } from "./samples.ts";

const SAMPLE_MILLIS = 5_000;
/** Connections must have ended so long after the traffic that had them; TIME-WAIT and lost FINs are in it. */
const REST_MILLIS = 30_000;
/** UDP mappings end three minutes after their last datagram. A short soak does not wait for that. */
const MAPPINGS_MILLIS = 200_000;
const LONG_MINUTES = 5;
/** More that went wrong is more of the same. */
const MAX_WRONG = 20;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    out: { type: "string", default: "test/soak/results" },
    share: { type: "string", default: "0.33" },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
const share = Number(values.share);
if (!(minutes > 0) || !Number.isInteger(seed) || !(share > 0))
  throw new Error("expected --minutes N, --seed INTEGER, --share S, all above zero");
const command = `npm run test:soak -- --minutes ${minutes} --seed ${seed}`;
console.log(`soak: ${minutes} minutes, seed ${seed}`);

class Soak {
  readonly samples: Sample[] = [];
  readonly wrong: string[] = [];
  readonly #env: Surroundings;
  readonly #from = performance.now();
  #line = "";

  constructor(env: Surroundings) {
    this.#env = env;
  }

  get seconds(): number {
    return (performance.now() - this.#from) / 1000;
  }

  async sample(quiet = false): Promise<Sample> {
    const { api, rig } = this.#env;
    const sample = await takeSample(api, rig.backend, { seconds: this.seconds, quiet, line: this.#line });
    this.samples.push(sample);
    return sample;
  }

  async setLine(line: (typeof LINES)[number], lineSeed: number): Promise<void> {
    await this.#env.api.put("/v1/impairment", { rules: line.rules, seed: lineSeed });
    this.#line = line.text;
  }

  /** Waits until `rested`, and samples that. */
  async rest(what: string, rested: (sample: Sample) => boolean, millis: number): Promise<void> {
    const until = performance.now() + millis;
    for (;;) {
      const { api, rig } = this.#env;
      const now = await takeSample(api, rig.backend, { seconds: this.seconds, quiet: true, line: this.#line });
      if (rested(now)) {
        this.samples.push(now);
        return;
      }
      if (performance.now() > until) {
        this.wrong.push(
          `${what} after ${millis / 1000} s: ${now.handles} handles, ${now.tcpFlows} TCP flows, ${now.udpFlows} UDP flows`,
        );
        this.wrong.push(...(await api.get<object[]>("/v1/flows")).slice(-3).map((flow) => JSON.stringify(flow)));
        return;
      }
      await sleep(250);
    }
  }
}

const started = new Date();
/** All that happens until something goes wrong, or until it is more than a replay reads. */
const recording = resolve(values.out, "run.tslirp");
const MOST_RECORDED = 1_500_000_000;
/** Half a minute's worth. */
const MOST_REPLAYED = 2_000_000;
mkdirSync(values.out, { recursive: true });
rmSync(recording, { force: true });
const env = await startSoakRig(recording);
const { api, guest, rig } = env;
const soak = new Soak(env);
const load = noLoad();
let rounds = 0;
let told = 0;
try {
  const before = otherHandles(await soak.sample());
  await guest.call("hold", { host: OUTSIDE, port: env.ports.echo, count: HELD });
  load.connections.held = HELD;
  const sampler = setInterval(() => void soak.sample().catch((error) => soak.wrong.push(String(error))), SAMPLE_MILLIS);
  let stopped = false;
  process.once("SIGINT", () => {
    stopped = true;
  });
  while (!stopped && soak.seconds < minutes * 60 && soak.wrong.length < MAX_WRONG && !rig.backend.died) {
    const [from, cpu] = [soak.seconds, ownSeconds()];
    const line = LINES[rounds % LINES.length]!;
    await soak.setLine(line, seed + rounds);
    const wrong = await round(env, line, seed + rounds * 1_000, load);
    const where = `round ${rounds} (${line.text || "good"})`;
    soak.wrong.push(...wrong.map((words) => `${where}: ${words}`));
    await soak.setLine(LINES[0]!, seed);
    await soak.rest(`${where}: connections that have not ended`, (sample) => sample.tcpFlows === HELD, REST_MILLIS);
    rig.services.drain(() => false);
    rounds++;
    const pause = (ownSeconds() - cpu) / share - (soak.seconds - from);
    if (rounds % 10 === 0) console.log(`${soak.seconds.toFixed(0)} s: ${rounds} rounds, ${soak.wrong.length} wrong`);
    if (soak.wrong.length > told) console.log(soak.wrong.slice(told).join("\n"));
    const { recording: running } = await api.get<{ recording: { bytes: number } | null }>("/v1/recording");
    if (running !== null && (soak.wrong.length > 0 || running.bytes > MOST_RECORDED)) await api.delete("/v1/recording");
    if (soak.wrong.length > 0 && told === 0) console.log(`tslirp replay ${recording}`);
    told = soak.wrong.length;
    await sleep(Math.max(0, pause * 1000));
  }
  clearInterval(sampler);
  const { open } = await guest.call("release", {});
  if (open !== HELD) soak.wrong.push(`of ${HELD} connections kept open ${HELD - open} were lost`);
  // Handles of flows that have gone may take a moment more; those of mappings are counted with them.
  const asBefore = (sample: Sample): boolean => sample.tcpFlows === 0 && otherHandles(sample) <= before;
  await soak.rest(`more than the ${before} handles from before`, asBefore, REST_MILLIS);
  if (soak.seconds >= LONG_MINUTES * 60)
    await soak.rest(
      "mappings that have not ended",
      (sample) => sample.udpFlows === 0 && sample.timers === 0,
      MAPPINGS_MILLIS,
    );
  soak.wrong.push(...growth(soak.samples));
  const { drops } = await api.get<{ drops: Record<string, number> }>("/v1/status");
  const { samples, wrong } = soak;
  const lines = LINES.map((line) => line.text).filter((text) => text !== "");
  const report = markdown({
    command,
    started,
    minutes: soak.seconds / 60,
    seed,
    rounds,
    lines,
    load,
    drops,
    samples,
    wrong,
    cardDrops: await cardDrops(rig.guest),
  });
  writeFileSync(join(values.out, "soak.csv"), csv(samples));
  writeFileSync(
    join(values.out, "soak.svg"),
    svg(samples, `${minutes} minutes of mixed traffic, seed ${seed}; shaded: a bad line`),
  );
  writeFileSync(join(values.out, "soak.md"), report);
  console.log(report);
} catch (error) {
  soak.wrong.push(String(error));
  console.error(error, rig.backend.log);
} finally {
  await env.close().catch((error) => soak.wrong.push(String(error)));
}
// A finding is worth its recording only if that one replays: so this is one more thing that can go wrong.
const { difference, crash, broken, entries } = await replayFile(recording, { untilEntry: MOST_REPLAYED });
const unlike = difference?.message ?? crash?.stack ?? broken;
if (unlike !== null) soak.wrong.push(`the recording of this does not replay: ${unlike}`);
console.log(`${entries} entries of the recording replay${unlike === null ? "" : ", and then not"}`);
if (soak.wrong.length === 0) rmSync(recording, { force: true });
else console.log(`what led to it, unless it went on for too long: tslirp replay ${recording}`);
process.exit(soak.wrong.length === 0 ? 0 : 1);
