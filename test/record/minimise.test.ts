/** A recording that shows a difference or a crash becomes a small one that shows the same. */
import path from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { TcpNat } from "../../src/nat/tcp/tcp-nat.ts";
import { RecordingReader } from "../../src/record/file.ts";
import type { Entry } from "../../src/record/format.ts";
import { minimise } from "../../src/record/minimise.ts";
import { replay } from "../../src/record/replay.ts";
import { configOf } from "../../src/record/run.ts";

const CORPUS = "fixtures/recordings";

afterEach(() => void vi.restoreAllMocks());

function read(name: string) {
  const reader = new RecordingReader(path.join(CORPUS, name));
  return { header: reader.header, entries: [...reader], config: configOf(reader.header) };
}

const frames = (entries: readonly Entry[]): number => entries.filter(({ name }) => name === "frame").length;

it("what replays well has nothing to minimise", async () => {
  const { header, entries, config } = read("little-guest.tslirp");
  expect(await minimise(header, entries, config)).toBeNull();
});

it("a crash about TCP becomes the frames that lead to it, which crash in the same way, and alike each time", async () => {
  const { header, entries, config } = read("linux-online.tslirp");
  vi.spyOn(TcpNat.prototype, "receive").mockImplementation(() => {
    throw new RangeError("a fault put in on purpose");
  });
  const small = await minimise(header, entries, config);
  expect(frames(small!.entries)).toBeLessThanOrEqual(2);
  const again = await replay(header, small!.entries, config);
  expect(again.crash?.message).toBe("a fault put in on purpose");
  expect((await minimise(header, entries, config))!.entries).toEqual(small!.entries);
});

// The smallest: others take as long as the search may.
it.each(["ipxe-boot", "linux-online", "little-guest"].map((name) => `${name}.tslirp`))(
  "a changed frame to %s's guest becomes a recording that differs in the same bytes",
  async (name) => {
    const { header, entries, config } = read(name);
    // A window field of TCP, of the last segment but some: what another build had sent.
    const at = entries.findLastIndex(({ name: each, values }) => {
      const head = values[3] as Uint8Array;
      return each === "sent" && head.length >= 54 && head[12] === 8 && head[13] === 0 && head[23] === 6;
    });
    const changed = entries.map((entry, i) => {
      if (i !== at) return entry;
      const head = (entry.values[3] as Uint8Array).slice();
      head[48]! ^= 1;
      return { ...entry, values: entry.values.map((value, j) => (j === 3 ? head : value)) };
    });
    const before = await replay(header, changed, config);
    expect(before.difference?.at).toBe(at);
    const small = await minimise(header, changed, config);
    // Thirty of them are the random numbers with which a network begins.
    expect(small!.entries.length).toBeLessThan(entries.length / 3);
    expect(frames(small!.entries)).toBeLessThanOrEqual(6);
    const { difference } = await replay(header, small!.entries, config);
    expect(difference!.at).toBe(small!.entries.length - 1);
    const [was, is] = [difference!.recorded!.values[3] as Uint8Array, difference!.replayed!.values[3] as Uint8Array];
    expect([...was.keys()].filter((i) => was[i] !== is[i] && i !== 50 && i !== 51)).toEqual([48]);
  },
);
