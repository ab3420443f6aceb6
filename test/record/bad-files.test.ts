/** Files that lie: one line says what is wrong, what is good before it is used, and nothing is taken that is not there. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { crc32 } from "../../src/record/crc.ts";
import { RecordingError, RecordingReader, writeRecording } from "../../src/record/file.ts";
import { ENTRIES, type Entry, type EntryName, type Header, MAGIC, NAMES, toJson } from "../../src/record/format.ts";
import { ReplayHost } from "../../src/record/replay-host.ts";
import { replayFile } from "../../src/record/run.ts";
import { Script } from "../../src/record/script.ts";

let folder: string;
let small: Buffer;
let header: Header;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  const reader = new RecordingReader("fixtures/recordings/little-guest.tslirp");
  header = reader.header;
  const file = path.join(folder, "small");
  writeRecording(file, header, [...reader].slice(0, 60));
  small = readFileSync(file);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** What is said of a file, one line; null for nothing. */
function said(bytes: Uint8Array): { readonly entries: number; readonly complaint: string | null } {
  const file = path.join(folder, "bad");
  writeFileSync(file, bytes);
  try {
    const reader = new RecordingReader(file);
    const entries = [...reader].length;
    return { entries, complaint: reader.broken };
  } catch (error) {
    expect(error).not.toBeInstanceOf(TypeError);
    return { entries: 0, complaint: (error as Error).message };
  }
}

it("a bit flipped anywhere is told in one line", () => {
  expect(said(small)).toEqual({ entries: 60, complaint: null });
  for (let at = 0; at < small.length; at += at < MAGIC.length + 200 ? 1 : 7) {
    const bytes = Buffer.from(small);
    bytes[at]! ^= 1 << (at % 8);
    const { complaint } = said(bytes);
    expect(complaint, `byte ${at}`).not.toBeNull();
    expect(complaint).not.toMatch(/[\r\n]/);
  }
});

it("a file cut anywhere is told in one line, but at the end of a block", () => {
  const ends = new Set<number>();
  for (let at = MAGIC.length; at <= small.length; at += 8 + small.readUInt32LE(at)) {
    ends.add(at);
    if (at === small.length) break;
  }
  for (let length = 0; length < small.length; length += length < 100 ? 1 : 7) {
    const { complaint } = said(small.subarray(0, length));
    if (complaint === null) expect(ends).toContain(length);
    else expect(complaint).not.toMatch(/[\r\n]/);
  }
});

function framed(block: Uint8Array): Buffer {
  const framing = Buffer.alloc(8);
  framing.writeUInt32LE(block.length, 0);
  framing.writeUInt32LE(crc32(block), 4);
  return Buffer.concat([framing, block]);
}

it("zeros behind the last block, as a loss of power leaves them, are told", () => {
  const { entries } = said(small);
  for (const count of [1, 8, 4_095, 4_096])
    expect(said(Buffer.concat([small, Buffer.alloc(count)]))).toEqual({ entries, complaint: expect.any(String) });
});

it("a pipe is none, and is not waited for", () => {
  const pipe = path.join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  expect(() => new RecordingReader(pipe)).toThrow(`cannot read ${pipe}: it is a pipe`);
});

it("a folder, and a file that is not there, are told in one line", () => {
  expect(() => new RecordingReader(folder)).toThrow(new RecordingError(`cannot read ${folder}: it is a folder`));
  expect(() => new RecordingReader(`${folder}/none`)).toThrow(
    new RecordingError(`cannot read ${folder}/none: there is no such file or folder`),
  );
});

it("a file of three gigabytes is read a block at a time", () => {
  const file = path.join(folder, "large");
  writeFileSync(file, small);
  truncateSync(file, 3e9);
  const reader = new RecordingReader(file);
  expect([...reader].length).toBe(60);
  expect(reader.broken).toBe("block 2 has no bytes, as after a loss of power");
});

it("lengths that promise gigabytes take none", () => {
  const head = framed(Buffer.from(toJson(header)));
  const long = Buffer.alloc(8);
  long.writeUInt32LE(0xffff_ffff, 0);
  expect(said(Buffer.concat([Buffer.from(MAGIC), head, long])).complaint).toMatch(/length that no block has/);
  const data = Buffer.from([NAMES.indexOf("data"), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]);
  const file = path.join(folder, "long");
  writeFileSync(file, Buffer.concat([Buffer.from(MAGIC), head, framed(data)]));
  const before = process.memoryUsage().rss;
  const reader = new RecordingReader(file);
  expect([...reader].length).toBe(0);
  expect(reader.broken).toMatch(/more than .* bytes/);
  expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
});

it.each([{ config: null }, { rules: 7 }, { config: { mtu: "x" } }, { version: "1" }, { rules: ["nonsense"] }])(
  "a header that says %j is refused in one line, or replayed",
  async (change) => {
    const file = path.join(folder, "header");
    rmSync(file, { force: true });
    writeRecording(file, { ...header, ...change } as never, []);
    const result = await replayFile(file).catch((error: Error) => error);
    if (result instanceof Error) {
      expect(result).not.toBeInstanceOf(TypeError);
      expect(result.message).not.toMatch(/[\r\n]/);
    }
  },
);

it("any entries whatever, in good blocks, end the replay with a word", async () => {
  const value = (kind: string): fc.Arbitrary<unknown> => {
    if (kind === "bytes") return fc.uint8Array({ maxLength: 100 });
    if (kind === "text") return fc.string();
    if (kind === "json") return fc.constantFrom<unknown>(null, 1, "x", [], {}, ["deny"], { host: "10.0.2.2", port: 1 });
    if (kind === "word") return fc.nat(0xffff_ffff);
    return fc.oneof(fc.nat(4), fc.nat(2 ** 40));
  };
  const entry: fc.Arbitrary<Entry> = fc
    .constantFrom<EntryName>(...NAMES)
    .chain((name) =>
      fc.tuple(...Object.values(ENTRIES[name].fields).map(value)).map((values) => ({ name, values }) as Entry),
    );
  const before = [...new RecordingReader(path.join(folder, "small"))].slice(0, 40);
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 20 }), async (entries) => {
      const file = path.join(folder, `any-${runs++}`);
      writeRecording(file, header, [...before, ...entries]);
      const result = await replayFile(file).catch((error: Error) => error);
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(RecordingError);
        expect(result.message).toMatch(/^the recording does not hold together: entry \d+: .+$/);
        return;
      }
      expect(result.crash).toBeNull();
      expect(result.entries).toBeGreaterThanOrEqual(0);
    }),
    { numRuns: 150 },
  );
}, 30_000);

it.each<[Entry, string]>([
  [{ name: "end", values: [3] }, "end of number 3, which is not there"],
  [{ name: "fileData", values: [9, 1, new Uint8Array(1)] }, "fileData of number 9, which is not there"],
  [{ name: "attached", values: [2, "again", {}] }, "attached of number 2, which is there already"],
  [{ name: "rules", values: [["nonsense"]] }, 'rules: got "nonsense"; expected a rule that begins with allow'],
])("an entry that does not fit those before it is refused in one line: %j", async ({ name, values }, line) => {
  const file = path.join(folder, "unfit");
  rmSync(file, { force: true });
  const before = [...new RecordingReader(path.join(folder, "small"))];
  const at = before.findIndex((entry) => entry.name === "batchEnd");
  writeRecording(file, header, [...before.slice(0, at), { name, values }, ...before.slice(at)]);
  await expect(replayFile(file)).rejects.toThrow(RecordingError);
  await expect(replayFile(file)).rejects.toThrow(`the recording does not hold together: entry ${at}: ${line}`);
});

it("a socket that is paused brings one more read at the most, so that no file can fill the memory", () => {
  const nothing = (): void => {};
  const host = new ReplayHost(new Script([], false), nothing);
  const events = { onConnect: nothing, onData: nothing, onEnd: nothing, onDrain: nothing, onClose: nothing };
  const tcp = host.socket(7, events);
  const read = 16 * 1_048_576;
  tcp.resume();
  expect([1, 2, 3].map(() => host.bringsTooMuch(7, read))).toEqual([false, false, false]);
  tcp.pause();
  expect([1, 2, 3].map(() => host.bringsTooMuch(7, read))).toEqual([false, false, true]);
  tcp.resume();
  expect(host.bringsTooMuch(7, read)).toBe(false);
});

it("an entry with values that no recorder writes ends the good part of a file", () => {
  const file = path.join(folder, "unsound");
  const unsound = { name: "datagram", values: [1, null, 0, new Uint8Array(0)] } as const;
  writeRecording(file, header, [{ name: "turnEnd", values: [] }, unsound]);
  const reader = new RecordingReader(file);
  expect([...reader].length).toBe(1);
  expect(reader.broken).toBe("block 1 has an entry of another format: datagram has values that none has");
});
