/** The corpus, whole, and twenty seconds of fuzzing; hours of it: `npm run fuzz -- --minutes N`. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { corpusOf, failureOf, fuzz } from "./fuzz.ts";
import { recordFinding } from "./recording.ts";
import { TARGETS } from "./targets.ts";
import { difference, fuzzTlsHellos } from "./tls-hellos.ts";

const SEED = 1;
const MILLIS = 20_000;

test.each(TARGETS)("$name: every input that ever was of interest is borne", (target) => {
  for (const { name, input } of corpusOf(target.name)) expect(failureOf(target, input)?.error, name).toBeUndefined();
});

test.each(TARGETS)(
  proves(["bad.any.alive", "bad.any.bounded"], "$name: changed inputs throw nothing, hang nothing, leave nothing"),
  (target) => {
    const { failure, runs } = fuzz(target, SEED, MILLIS / TARGETS.length);
    const recording = failure !== null && target.name === "session" ? finding(failure.input) : "";
    expect(
      failure && `${failure.error.stack} of ${Buffer.from(failure.input).toString("hex")} ${recording}`,
    ).toBeNull();
    expect(runs).toBeGreaterThan(100);
  },
  60_000,
);

/** How to look at what an input does. */
function finding(input: Uint8Array): string {
  return recordFinding(path.join(mkdtempSync(path.join(tmpdir(), "tslirp-fuzz-")), "finding.tslirp"), input);
}

test("what OpenSSL reads a name in is a hello for that name to us, or refused", async () => {
  const { failure, runs, named } = await fuzzTlsHellos(SEED, 1_500, performance.now() + MILLIS);
  expect(failure && `${failure.error}: ${Buffer.from(failure.input).toString("hex")}`).toBeNull();
  // Enough of them are hellos at all.
  expect(named).toBeGreaterThan(runs / 10);
}, 60_000);

test("the comparison itself finds another name and another protocol", () => {
  expect(difference(Buffer.from("\0 no hello"), "a.test")).toContain("another protocol");
  expect(difference(Buffer.from("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), "a.test")).toContain("HTTP for a.test");
});
