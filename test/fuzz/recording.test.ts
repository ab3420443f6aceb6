/** What the fuzzer finds is a file that replays. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { TcpNat } from "../../src/nat/tcp/tcp-nat.ts";
import { replay } from "../../src/record/replay.ts";
import { replayFile } from "../../src/record/run.ts";
import { corpusOf } from "./fuzz.ts";
import { HEADER, recorded, recordFinding } from "./recording.ts";
import { sessionSeeds } from "./seeds.ts";
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
