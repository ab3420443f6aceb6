/**
 * `npm run fuzz -- [--minutes N] [--seed S] [--target NAME] [--keep]`: fuzzes each target for its share of N minutes
 * (1 unless given). A failure is printed as an input for `fixtures/corpus`, as small as could be made, and is the exit
 * status; one of the whole network ("session") is a recording, too, and the command that replays it is printed. With `--keep` the inputs that reached new blocks are added to the corpus.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { fuzz } from "./fuzz.ts";
import { recordFinding } from "./recording.ts";
import { TARGETS } from "./targets.ts";
import { fuzzTlsHellos } from "./tls-hellos.ts";

/** It waits for a server's answer, and so is none of `TARGETS`. */
const TLS = "tls-hellos";

/** Where recordings of findings go. */
const RESULTS = "test/fuzz/results";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    target: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
const targets = TARGETS.filter(({ name }) => values.target === undefined || values.target === name);
if (!(minutes > 0) || !Number.isInteger(seed) || (targets.length === 0 && values.target !== TLS)) {
  console.error(
    `fuzz: expected --minutes N (more than 0), --seed S (a whole number), --target ${[...TARGETS.map((t) => t.name), TLS].join(" | ")}`,
  );
  process.exit(2);
}

function save(target: string, input: Uint8Array): string {
  const name = `${target}-${createHash("sha256").update(input).digest("hex").slice(0, 12)}.hex`;
  const lines =
    Buffer.from(input)
      .toString("hex")
      .match(/.{1,100}/g) ?? [];
  writeFileSync(new URL(`../../fixtures/corpus/${name}`, import.meta.url), `${lines.join("\n")}\n`);
  return name;
}

let failed = false;
const withTls = values.target === undefined || values.target === TLS;
const share = (minutes * 60_000) / (targets.length + Number(withTls));
console.log("| target | seed | inputs | blocks | new | |\n| --- | ---: | ---: | ---: | ---: | --- |");
for (const target of targets) {
  const { runs, blocks, found, failure } = fuzz(target, seed, share);
  if (values.keep) for (const input of found) save(target.name, input);
  const verdict = failure === null ? "ok" : `FAILED: ${failure.error.message}`;
  console.log(`| ${target.name} | ${seed} | ${runs} | ${blocks} | ${found.length} | ${verdict} |`);
  if (failure === null) continue;
  failed = true;
  const name = save(target.name, failure.input);
  console.error(`${failure.error.stack}\nfixtures/corpus/${name}: ${failure.input.length} bytes`);
  if (target.name === "session") {
    const file = path.join(RESULTS, name.replace(/hex$/, "tslirp"));
    mkdirSync(RESULTS, { recursive: true });
    rmSync(file, { force: true });
    console.error(recordFinding(file, failure.input));
  }
}
if (withTls) {
  const { runs, failure } = await fuzzTlsHellos(seed, Number.POSITIVE_INFINITY, performance.now() + share);
  console.log(`| ${TLS} | ${seed} | ${runs} | - | - | ${failure === null ? "ok" : `FAILED: ${failure.error}`} |`);
  if (failure !== null) {
    failed = true;
    console.error(`${failure.error}: ${Buffer.from(failure.input).toString("hex")}`);
  }
}
process.exitCode = failed ? 1 : 0;
