/** The corpus, whole, and twenty seconds of fuzzing; hours of it: `npm run fuzz -- --minutes N`. */
import { expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { corpusOf, failureOf, fuzz } from "./fuzz.ts";
import { TARGETS } from "./targets.ts";

const SEED = 1;
const MILLIS = 20_000;

test.each(TARGETS)("$name: every input that ever was of interest is borne", (target) => {
  for (const { name, input } of corpusOf(target.name)) expect(failureOf(target, input)?.error, name).toBeUndefined();
});

test.each(TARGETS)(
  proves(["bad.any.alive", "bad.any.bounded"], "$name: changed inputs throw nothing, hang nothing, leave nothing"),
  (target) => {
    const { failure, runs } = fuzz(target, SEED, MILLIS / TARGETS.length);
    expect(failure && `${failure.error.stack} of ${Buffer.from(failure.input).toString("hex")}`).toBeNull();
    expect(runs).toBeGreaterThan(100);
  },
  60_000,
);
