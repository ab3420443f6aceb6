/**
 * The loop: an input of the corpus is changed and run; one that reaches new blocks joins the corpus. Reading V8's
 * counters costs more than an input does, so they are read once for a batch, and a batch that reached something is run
 * again, one by one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { heldMegabytes } from "../support/held-memory.ts";
import { SeededRandom } from "../support/random.ts";
import { Coverage } from "./coverage.ts";
import { minimise, mutate } from "./mutate.ts";
import type { Target } from "./targets.ts";

const CORPUS = new URL("../../fixtures/corpus/", import.meta.url);
const BATCH = 16;
/** Batches between two looks at what is held, and how much more that may become: the corpus grows, a little. */
const LOOK = 64;
const MOST_GROWTH_MB = 48;

export interface Failure {
  readonly input: Uint8Array;
  readonly error: Error;
}
export interface FuzzResult {
  readonly runs: number;
  readonly blocks: number;
  /** Inputs that reached something that no earlier one had. */
  readonly found: readonly Uint8Array[];
  readonly failure: Failure | null;
}

/** The inputs of `fixtures/corpus` for a target: `NAME-*.hex`. */
export function corpusOf(target: string): { name: string; input: Uint8Array }[] {
  return readdirSync(CORPUS)
    .filter((name) => name.startsWith(`${target}-`) && name.endsWith(".hex"))
    .map((name) => ({
      name,
      input: new Uint8Array(Buffer.from(readFileSync(new URL(name, CORPUS), "utf8").replace(/\s+/g, ""), "hex")),
    }));
}

/** What goes wrong with an input; null when nothing does. */
export function failureOf(target: Target, input: Uint8Array): Failure | null {
  try {
    target.run(input);
    return null;
  } catch (error) {
    return { input, error: error as Error };
  }
}

/** Fuzzes for so long, or until something fails; what failed is made as small as may be. */
export function fuzz(target: Target, seed: number, millis: number): FuzzResult {
  const random = new SeededRandom(seed);
  const corpus = [...target.seeds(), ...corpusOf(target.name).map(({ input }) => input)];
  const found: Uint8Array[] = [];
  const coverage = new Coverage();
  const end = performance.now() + millis;
  let runs = 0;
  const result = (failure: Failure | null): FuzzResult => {
    const { blocks } = coverage;
    coverage.close();
    if (failure === null) return { runs, blocks, found, failure };
    const { message } = failure.error;
    const input = minimise(failure.input, (bytes) => failureOf(target, bytes)?.error.message === message);
    return { runs, blocks, found, failure: { input, error: failure.error } };
  };
  const pick = (): Uint8Array => corpus[random.u32() % corpus.length]!;

  for (const input of corpus) {
    const failure = failureOf(target, input);
    if (failure !== null) return result(failure);
    runs++;
  }
  coverage.reached(true);
  const held = heldMegabytes();
  for (let n = 1; performance.now() < end; n++) {
    const batch = Array.from({ length: BATCH }, () => mutate(pick(), pick(), random));
    for (const input of batch) {
      const failure = failureOf(target, input);
      if (failure !== null) return result(failure);
      runs++;
    }
    if (n % LOOK === 0 && heldMegabytes() > held + MOST_GROWTH_MB) {
      return result({ input: batch.at(-1)!, error: new Error(`memory grew beyond ${held} + ${MOST_GROWTH_MB} MB`) });
    }
    if (!coverage.reached(false)) continue;
    for (const input of batch) {
      target.run(input);
      if (!coverage.reached(true)) continue;
      corpus.push(input);
      found.push(input);
    }
  }
  return result(null);
}
