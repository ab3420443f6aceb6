/** `npm run bench`: every case under benchmark.js, as a table. `--brief` shows in seconds that all of them still work. */
import Benchmark from "benchmark";
import { cableCases } from "./cables.ts";
import type { Case } from "./case.ts";
import { checksumCases } from "./checksum.ts";
import { datagramCases } from "./datagrams.ts";
import { decodeCases } from "./decode.ts";
import { flowCases } from "./flows.ts";
import { headerCases } from "./headers.ts";
import { memoryRows } from "./memory.ts";
import { recordRows } from "./recorder.ts";
import { socketCases } from "./sockets.ts";
import { switchCases } from "./switch.ts";
import { walkCases } from "./walks.ts";

/** One suite of the cases. */
const at = process.argv.indexOf("--only");
const only = at < 0 ? null : process.argv[at + 1];
const brief = process.argv.includes("--brief");
const options: Benchmark.Options = brief ? { maxTime: 0.05, minTime: 0.01, minSamples: 1 } : { maxTime: 1 };

/** A deferred call's failure would otherwise leave the run waiting. */
function fail(error: Error): void {
  console.error(error);
  process.exit(1);
}

/** At least so many operations, and so many rounds of them, tell what one takes of the heap. */
const OPERATIONS = 2_048;
const ROUNDS = brief ? 3 : 15;

/** Bytes of V8's heap that one operation takes: the median of the rounds in which nothing was collected. */
async function garbage({ deferred, per }: Case, call: () => void | Promise<void>): Promise<number> {
  const rounds: number[] = [];
  const calls = Math.ceil(OPERATIONS / per);
  for (let round = 0; round < ROUNDS; round++) {
    const empty = process.memoryUsage().heapUsed;
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < calls; i++) {
      const done = call();
      if (deferred === true) await done;
    }
    const taken = process.memoryUsage().heapUsed - before - (before - empty);
    if (taken >= 0) rounds.push(taken / (calls * per));
  }
  rounds.sort((a, b) => a - b);
  return rounds[rounds.length >> 1] ?? Number.NaN;
}

/** A row of the table. Throws when the case failed or did not do its work. */
async function measure(c: Case): Promise<string> {
  let calls = 0;
  await c.prepare?.();
  const call = (): void | Promise<void> => {
    calls++;
    return c.call();
  };
  const bench = new Benchmark(
    c.name,
    (deferred?: Benchmark.Deferred) => {
      const done = call();
      if (deferred !== undefined) void (done as Promise<void>).then(() => deferred.resolve(), fail);
    },
    { ...options, defer: c.deferred === true },
  );
  if (c.deferred === true) {
    const ended = new Promise((resolve) => bench.on("complete", resolve));
    bench.run();
    await ended;
  } else bench.run();
  if (bench.error) throw new Error(`${c.suite}, ${c.name}`, { cause: bench.error });
  if (calls === 0) throw new Error(`${c.suite}, ${c.name}: it never ran`);
  const taken = await garbage(c, call);
  c.check(calls);
  // The median: a run that another process interrupts does not count.
  const sample = bench.stats.sample.toSorted((a, b) => a - b);
  const nanos = (sample[sample.length >> 1]! * 1e9) / c.per;
  const gbit = c.bytes === 0 ? "" : ((c.bytes * 8) / nanos).toFixed(2);
  return `| ${c.suite} | ${c.name} | ${nanos.toFixed(1)} | ${gbit} | ${bench.stats.rme.toFixed(1)} | ${taken.toFixed(0)} |`;
}

console.log("| suite | case | ns/op | Gbit/s | ± % | B/op |");
console.log("| --- | --- | ---: | ---: | ---: | ---: |");
for (const suite of [
  checksumCases,
  headerCases,
  flowCases,
  decodeCases,
  walkCases,
  switchCases,
  socketCases,
  datagramCases,
  cableCases,
])
  for (const c of suite()) if (only === null || c.suite === only) console.log(await measure(c));

// Cases that have not run have not closed what they opened.
if (only !== null) process.exit();

console.log("\n| suite | case | kB |");
console.log("| --- | --- | ---: |");
for (const line of memoryRows()) console.log(line);

console.log("\n| suite | case | bytes |");
console.log("| --- | --- | ---: |");
for (const line of recordRows()) console.log(line);
