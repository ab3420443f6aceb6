/** What the fuzzer finds is a file that replays. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { TcpNat } from "../../src/nat/tcp/tcp-nat.ts";
import { BlockWriter } from "../../src/record/codec.ts";
import type { Entry, Header } from "../../src/record/format.ts";
import { replay } from "../../src/record/replay.ts";
import { replayFile } from "../../src/record/run.ts";
import { corpusOf } from "./fuzz.ts";
import { HEADER, recorded, recordFinding } from "./recording.ts";
import { concat, sessionSeeds } from "./seeds.ts";
import { CONFIG } from "./world.ts";

afterEach(() => void vi.restoreAllMocks());

test.each([true, false])(
  "whatever a network is told by the fuzzer's inputs, it does the same when it is told again, payload %s",
  async (payload) => {
    const inputs = [...sessionSeeds(), ...corpusOf("session").map(({ input }) => input)];
    expect(inputs.length).toBeGreaterThan(5);
    for (const [i, input] of inputs.slice(0, 60).entries()) {
      const { difference, crash, entries } = await replay({ ...HEADER, payload }, recorded(input, payload), CONFIG);
      expect([i, difference?.message, crash]).toEqual([i, undefined, null]);
      expect(entries).toBeGreaterThan(30);
    }
  },
);

test("a finding is a file whose replay crashes where the fuzzer did", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "tslirp-fuzz-"));
  vi.spyOn(TcpNat.prototype, "receive").mockImplementation(() => {
    throw new RangeError("a fault put in on purpose");
  });
  const crashes: (string | undefined)[] = [];
  for (const [i, input] of sessionSeeds().entries()) {
    const file = path.join(folder, `${i}.tslirp`);
    expect(recordFinding(file, input)).toBe(`tslirp replay ${file} --print`);
    crashes.push((await replayFile(file)).crash?.message);
  }
  expect(crashes).toContain("a fault put in on purpose");
  rmSync(folder, { recursive: true });
});

test("a random run that is recorded twice is the same bytes, and one that is replayed twice the same frames", async () => {
  const bytesOf = (entries: readonly Entry[]): Buffer => {
    const block = new BlockWriter();
    for (const { name, values } of entries) block.entry(name, values);
    return Buffer.from(block.take());
  };
  const frames = async (header: Header, entries: readonly Entry[]): Promise<string[]> => {
    const seen: string[] = [];
    const { difference } = await replay(header, entries, CONFIG, {
      onFrame: (_, toGuest, frame) => void seen.push(`${toGuest} ${Buffer.from(frame).toString("hex")}`),
    });
    expect(difference?.message).toBeUndefined();
    return seen;
  };
  const input = fc.array(fc.constantFrom(...sessionSeeds()), { minLength: 1, maxLength: 4 }).chain((seeds) =>
    fc.array(fc.tuple(fc.nat(4_000), fc.nat(255)), { maxLength: 6 }).map((changes) => {
      const bytes = concat(...seeds);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    }),
  );
  await fc.assert(
    fc.asyncProperty(input, fc.boolean(), async (bytes, payload) => {
      const entries = recorded(bytes, payload);
      expect(bytesOf(recorded(bytes, payload)).equals(bytesOf(entries))).toBe(true);
      const header = { ...HEADER, payload };
      expect(await frames(header, entries)).toEqual(await frames(header, entries));
    }),
    { numRuns: 12 },
  );
}, 60_000);
