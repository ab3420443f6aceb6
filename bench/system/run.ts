/**
 * `npm run bench:system`: tslirp beside the other user-mode networks, doing the same work for the same guest.
 *
 * Peers are interleaved: each run goes through all of them, and each run begins with another one, so that what changes
 * on the machine meanwhile falls on all. Compare ratios within one report; absolute figures move with the machine.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { comparison } from "./compare.ts";
import { machineName, priority } from "./meter.ts";
import { BUILD, PEERS, type Peer, tslirp, which } from "./peers.ts";
import { svg } from "./plot.ts";
import { profiled, profiles } from "./profile.ts";
import { markdown, type Results, type Sample, sound } from "./report.ts";
import { type Cable, type Figures, type Join, SystemRig } from "./rig.ts";
import { MEASUREMENTS, type Measurement, ROWS, SECTIONS, type Section } from "./rows.ts";
import { LEAST_RUNS } from "./statistics.ts";
import { compileTools, type Tools } from "./tools.ts";

const BENCH = fileURLToPath(new URL("..", import.meta.url));
const REPORT = join(BENCH, "../docs/performance.md");
/** Others on the machine: a measurement with so much of a processor gone is taken again. */
const FOREIGN = 0.25;

interface Options {
  readonly runs: number;
  readonly seconds: number;
  readonly mtu: number[];
  readonly only?: string[];
  readonly variant: string[];
  readonly against?: string;
  readonly join: Join;
  readonly out: string;
  readonly tries: number;
  readonly brief: boolean;
  readonly profile?: string;
  readonly updateReport: boolean;
}

function positive(text: string): number {
  const n = Number(text);
  if (!(n > 0)) throw new InvalidArgumentError("a number above zero");
  return n;
}

function list(text: string): string[] {
  return text.split(",");
}

const keys = MEASUREMENTS.map((m) => m.key);
const program = new Command("bench:system")
  .description("tslirp beside libslirp, passt and slirp4netns: the same guest, the same services, the same work")
  .argument("[peer...]", `of ${PEERS.map((p) => p.name).join(", ")} (all that are installed)`)
  .option("--runs <n>", "interleaved runs", positive, 3)
  .option("--seconds <n>", "of each bulk transfer; the rest takes two at the most", positive, 3)
  .option(
    "--mtu <list>",
    "of 1500 (without and with offload) and 65520",
    (text) => list(text).map(positive),
    [1500, 65_520],
  )
  .option("--only <list>", `of ${keys.join(", ")}`, list)
  .option(
    "--variant <words>",
    'a further tslirp beside the peers, with other options or (first word) of another dist folder: "--busy-poll 0"; over vhost-user behind "vhost:" (repeatable)',
    (words, all: string[]) => [...all, words],
    [],
  )
  .option(
    "--against <dist>",
    "another build, run by run beside this one, with a verdict for each row; without peers these two alone",
  )
  .option("--join <how>", "how guest and peer are joined: bridge, or QEMU's hub", "bridge")
  .option("--out <folder>", "where results.json, table.md and throughput.svg go", join(BENCH, "results"))
  .option("--tries <n>", "of a measurement that others on the machine disturb", positive, 3)
  .option("--brief", "one short run of each: shows that everything works, its figures mean nothing", false)
  .option(
    "--profile <folder>",
    "where the processor time of tslirp goes, function by function: profiles into this folder, and a table",
  )
  .option("--update-report", "puts the table into docs/performance.md, between its markers", false)
  .showHelpAfterError();

function fail(message: string): never {
  process.stderr.write(`bench:system: ${message}\n`);
  process.exit(2);
}

/** "--busy-poll 0", "/tmp/before/dist" or "/tmp/before/dist --busy-poll 0", over vhost-user behind "vhost:"; that is its name, too. */
function variant(text: string): Peer {
  const vhost = text.startsWith("vhost:");
  const [first = "", ...rest] = text.slice(vhost ? 6 : 0).split(" ");
  const kind = vhost ? "vhost" : "socket";
  return first.startsWith("-") ? tslirp(text, BUILD, [first, ...rest], kind) : tslirp(text, first, rest, kind);
}

function choose(
  names: readonly string[],
  { join: how, variant: more, against, profile }: Options,
): { peers: Peer[]; skipped: string[] } {
  const skipped: string[] = [];
  const all = names.length > 0 ? names : against === undefined ? null : ["tslirp"];
  const named = all === null ? PEERS : all.map((n) => PEERS.find((p) => p.name === n) ?? fail(`no peer ${n}`));
  const wanted = [...named, ...[...more, ...(against === undefined ? [] : [against])].map(variant)];
  const peers = wanted.filter((peer) => {
    const lacking = peer.needs.find((need) => which(need) === null);
    if (lacking !== undefined) skipped.push(`${peer.name} (${lacking} is not installed)`);
    else if (how === "hub" && peer.kind !== "socket") skipped.push(`${peer.name} (cannot be joined by QEMU's hub)`);
    else return true;
    return false;
  });
  return { peers: profile === undefined ? peers : peers.map((peer) => profiled(peer, resolve(profile))), skipped };
}

/** One measurement, again when others kept the machine busy. */
async function measure(rig: SystemRig, m: Measurement, seconds: number, tries: number): Promise<Figures> {
  let best = await m.run(rig, seconds);
  for (let i = 1; i < tries && (best.foreign ?? 0) > FOREIGN && !rig.died; i++) {
    const again = await m.run(rig, seconds);
    if ((again.foreign ?? 0) < (best.foreign ?? 0)) best = again;
  }
  return best;
}

function told(m: Measurement, figures: Figures): string {
  if (!sound(figures)) return `FAILED ${JSON.stringify(figures)}`;
  const rows = ROWS.filter((row) => row.from === m.key && row.value(figures) !== undefined);
  return rows.map((row) => `${row.value(figures)!.toFixed(row.digits)} ${row.unit}`).join(", ");
}

async function runPeer(
  peer: Peer,
  section: Section,
  run: number,
  measurements: readonly Measurement[],
  tools: Tools,
  options: Options,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const cable: Cable = { mtu: section.mtu, join: options.join, offload: section.offload };
  let rig: SystemRig | null = null;
  try {
    for (const m of measurements) {
      const guests = m.guests ?? 1;
      if (guests > 1 && peer.several !== true) continue;
      if (rig !== null && rig.guests !== guests) {
        await rig.close();
        rig = null;
      }
      rig ??= await SystemRig.start(peer, cable, tools, guests);
      const figures = await measure(rig, m, options.seconds, options.tries);
      samples.push({ peer: peer.name, section: section.title, run, measurement: m.key, figures });
      const where = `run ${run + 1}  ${section.title}  ${peer.name.padEnd(11)}  ${m.key.padEnd(14)}`;
      process.stderr.write(`${where}  ${told(m, figures)}\n`);
      if (sound(figures) && !rig.died) continue;
      // A peer that got stuck gets a new start, or all that follows would fail too.
      await rig.close();
      rig = null;
    }
  } finally {
    await rig?.close();
  }
  return samples;
}

/** The report's table stands between two comments. */
function updateReport(table: string): void {
  const text = readFileSync(REPORT, "utf8");
  const [begin, end] = ["<!-- bench:system begin -->", "<!-- bench:system end -->"];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) fail(`docs/performance.md has no ${begin} … ${end}`);
  writeFileSync(REPORT, `${text.slice(0, from + begin.length)}\n${table}${text.slice(to)}`);
}

async function main(): Promise<number> {
  program.parse();
  const given = program.opts<Options>();
  const options = given.brief ? { ...given, runs: 1, seconds: 0.3, tries: 1 } : given;
  if (options.join !== "bridge" && options.join !== "hub") fail(`--join ${options.join}: bridge or hub`);
  const unknown = options.only?.find((key) => !keys.includes(key));
  if (unknown !== undefined) fail(`--only ${unknown}: no such measurement; there are ${keys.join(", ")}`);
  if (options.against !== undefined && !existsSync(join(options.against, "cli/main.js")))
    fail(`--against ${options.against}: no build there; a dist folder has cli/main.js`);
  if (options.against !== undefined && options.runs < LEAST_RUNS && !options.brief)
    fail(`--runs ${options.runs}: what is compared needs ${LEAST_RUNS} runs at least`);
  if (process.platform !== "linux" || process.getuid?.() !== 0) fail("needs Linux and root, for network namespaces");
  for (const program of ["ip", "setpriv", "sysctl"]) if (which(program) === null) fail(`needs ${program}`);
  const tools = compileTools();
  if (tools === null) fail("needs a C compiler (cc) for its load generator: on Debian, apt-get install gcc libc6-dev");
  const { peers, skipped } = choose(program.args, options);
  for (const line of skipped) process.stderr.write(`SKIPPED ${line}\n`);

  // QEMU's hub neither takes larger frames nor cuts them.
  const sections = SECTIONS.filter(
    (s) => options.mtu.includes(s.mtu) && (options.join === "bridge" || (s.mtu <= 1500 && !s.offload)),
  );
  const samples: Sample[] = [];
  const failures: string[] = [];
  for (let run = 0; run < options.runs; run++) {
    for (const section of sections) {
      const measurements = MEASUREMENTS.filter(
        (m) => m.sections.includes(section) && (options.only?.includes(m.key) ?? true),
      );
      if (measurements.length === 0) continue;
      for (let i = 0; i < peers.length; i++) {
        const peer = peers[(run + i) % peers.length]!;
        // One with a TAP of its own has no bridge to do anything for its guest, and a vhost-user guest's card does it anyhow.
        const bridged = peer.kind === "socket" || peer.kind === "wire";
        if (!peer.mtus.includes(section.mtu) || (section.offload && !bridged)) continue;
        try {
          samples.push(...(await runPeer(peer, section, run, measurements, tools, options)));
        } catch (error) {
          failures.push(error instanceof Error ? error.message : String(error));
          process.stderr.write(`FAILED ${failures.at(-1)}\n`);
        }
      }
    }
  }
  const order = peers.map((p) => p.name);
  samples.sort((a, b) => order.indexOf(a.peer) - order.indexOf(b.peer));
  const results: Results = {
    machine: machineName(),
    date: new Date().toISOString().slice(0, 10),
    join: options.join,
    seconds: options.seconds,
    priority: priority(),
    runs: options.runs,
    skipped,
    samples,
  };
  const out = resolve(options.out);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "results.json"), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(out, "throughput.svg"), svg(results));
  const table = markdown(results);
  writeFileSync(join(out, "table.md"), table);
  if (options.updateReport) updateReport(table);
  process.stdout.write(table);
  if (options.profile !== undefined) process.stdout.write(profiles(resolve(options.profile), peers));
  if (options.against !== undefined) process.stdout.write(comparison(results, options.against, "tslirp"));
  process.stderr.write(`results.json, table.md and throughput.svg are in ${out}\n`);
  // What the others do is theirs; ours must have done all of its work, and done it right.
  const ours = samples.filter((s) => s.peer === "tslirp" && !sound(s.figures)).map((s) => s.measurement);
  if (ours.length > 0) process.stderr.write(`FAILED for tslirp: ${ours.join(", ")}\n`);
  return ours.length > 0 || failures.some((f) => f.startsWith("tslirp")) ? 1 : 0;
}

process.exitCode = await main();
