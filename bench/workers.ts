/**
 * `npm run bench:workers`: two guests at once, through one process and through two workers (`serve --workers 2`).
 *
 * Guests, services and their joints are those of `bench:system`: real Linux TCP/IP stacks, all bytes compared. One pair is
 * both arrangements, one after the other; every second pair begins with the other one. What is told is the mean of the
 * pairs' ratios with its interval of 95 %, since absolute figures move with the machine. `--brief` shows that it works.
 */
import { machineName } from "./system/meter.ts";
import { BUILD, GATEWAY, type Peer, RESOLVER, tslirp, which } from "./system/peers.ts";
import { sound, spreadOf, spreadText } from "./system/report.ts";
import { type Figures, SystemRig } from "./system/rig.ts";
import { compileTools, type Tools } from "./system/tools.ts";

const brief = process.argv.includes("--brief");
const PAIRS = brief ? 1 : 6;
const SECONDS = brief ? 0.3 : 2;
/** Of the same, which do not count: a Node program's first seconds are spent on compiling it. */
const WARM_UP = brief ? 0.1 : 1;
const MTU = 1500;
const GUESTS = 2;

interface Arrangement {
  readonly title: string;
  readonly peer: Peer;
}

function arrangement(title: string, ...options: readonly string[]): Arrangement {
  return { title, peer: tslirp(title, BUILD, options) };
}

const ONE = arrangement("one process");
const TWO = arrangement("two workers", "--workers", String(GUESTS));

/** What both guests do at once, and what of their figures is added up. */
interface Work {
  readonly title: string;
  readonly unit: string;
  readonly figure: string;
  readonly digits: number;
  args(seconds: number): readonly string[];
}

const WORKS: readonly Work[] = [
  ...(["up", "down"] as const).map((direction) => ({
    ...{ title: `TCP ${direction}, a stream each`, unit: "Gbit/s", figure: "gbit", digits: 2 },
    args: (seconds: number) => ["bulk", GATEWAY, direction, String(seconds), "1"],
  })),
  {
    ...{ title: "new connections, 32 at once each", unit: "/s", figure: "rate", digits: 0 },
    args: (seconds) => ["crr", GATEWAY, String(seconds), "32"],
  },
  {
    ...{ title: "DNS queries, 16 at once each", unit: "/s", figure: "rate", digits: 0 },
    args: (seconds) => ["dns", RESOLVER, String(seconds), "16"],
  },
];

interface Sample {
  /** Of both guests together. */
  readonly total: number;
  /** Processors that tslirp kept busy, and others on this machine. */
  readonly busy: number;
  readonly foreign: number;
}

function fail(message: string): never {
  process.stderr.write(`bench:workers: ${message}\n`);
  process.exit(1);
}

async function measure(rig: SystemRig, work: Work, title: string): Promise<Sample> {
  const all = (seconds: number): Promise<Figures[]> => {
    const loads = Array.from({ length: GUESTS }, (_, nth) => rig.load(work.args(seconds), seconds + 20, nth));
    return Promise.all(loads);
  };
  await all(WARM_UP);
  let total = 0;
  const { busy, foreign } = await rig.metered(async () => {
    for (const figures of await all(SECONDS)) {
      if (!sound(figures)) fail(`${title}, ${work.title}: ${JSON.stringify(figures)}`);
      total += figures[work.figure]!;
    }
    return {};
  });
  return { total, busy: busy!, foreign: foreign! };
}

async function run({ title, peer }: Arrangement, tools: Tools): Promise<Sample[]> {
  const rig = await SystemRig.start(peer, { mtu: MTU, join: "bridge" }, tools, GUESTS);
  try {
    const samples = [];
    for (const work of WORKS) samples.push(await measure(rig, work, title));
    return samples;
  } finally {
    await rig.close();
  }
}

function range(values: readonly number[], digits: number): string {
  return spreadText(spreadOf(values), digits);
}

if (process.platform !== "linux" || process.getuid?.() !== 0) fail("needs Linux and root, for network namespaces");
for (const program of ["ip", "setpriv", "sysctl"]) if (which(program) === null) fail(`needs ${program}`);
const tools = compileTools() ?? fail("needs a C compiler (cc): on Debian, apt-get install gcc libc6-dev");

/** By pair, then by work. */
const one: Sample[][] = [];
const two: Sample[][] = [];
for (let pair = 0; pair < PAIRS; pair++) {
  const turns = [() => run(ONE, tools).then((s) => one.push(s)), () => run(TWO, tools).then((s) => two.push(s))];
  for (const turn of pair % 2 === 0 ? turns : turns.reverse()) await turn();
  process.stderr.write(`pair ${pair + 1} of ${PAIRS}\n`);
}

console.log(`${machineName()}; ${new Date().toISOString().slice(0, 10)}; ${PAIRS} pairs, ${SECONDS} s each\n`);
console.log("| two guests, MTU 1500 | unit | one process | two workers | ratio | busy, one | busy, two | others |");
console.log("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
for (const [i, { title, unit, digits }] of WORKS.entries()) {
  const before = one.map((samples) => samples[i]!);
  const after = two.map((samples) => samples[i]!);
  const totals = (samples: readonly Sample[]): string =>
    range(
      samples.map((s) => s.total),
      digits,
    );
  const shares = (samples: readonly Sample[], of: "busy" | "foreign"): string =>
    range(
      samples.map((s) => s[of]),
      2,
    );
  const ratios = after.map((s, pair) => s.total / before[pair]!.total);
  const cells = [
    ...[title, unit, totals(before), totals(after), range(ratios, 2)],
    ...[shares(before, "busy"), shares(after, "busy"), shares([...before, ...after], "foreign")],
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
