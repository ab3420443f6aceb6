/** A recording replays to the byte, and says where a network does something else. */

import dgram from "node:dgram";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type NetworkOptions } from "../../src/index.ts";
import { BlockWriter, readEntries, TAGS } from "../../src/record/codec.ts";
import { crc32, scalarCrc32 } from "../../src/record/crc.ts";
import { RecordingReader } from "../../src/record/file.ts";
import { ENTRIES, type Entry, MAGIC } from "../../src/record/format.ts";
import { type ReplayResult, replay } from "../../src/record/replay.ts";
import { replayFile } from "../../src/record/run.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";
import { recordGuest, serveGuest } from "./guest-run.ts";

let folder: string;
let server: Server;
let runs = 0;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  server = await serveGuest(folder);
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** A recording of a guest's run in this test's folder. */
async function record(payload: boolean, options: NetworkOptions = {}): Promise<string> {
  const file = path.join(folder, `run-${runs++}.tslirp`);
  await recordGuest(file, payload, folder, server, options);
  return file;
}

/** A recording of a guest whose datagram is echoed by the host. */
async function recordUdp(): Promise<string> {
  const file = path.join(folder, `run-${runs++}.tslirp`);
  const echo = dgram.createSocket("udp4");
  echo.on("message", (bytes, from) => echo.send(bytes, from.port, from.address));
  await new Promise<void>((resolve) => echo.bind(0, "127.0.0.1", resolve));
  const net = await createNetwork({ ipv6: false, record: file });
  const { stop, guest } = await embeddedGuest(net, 1, "udp");
  try {
    const socket = guest.udp(6000);
    await new Promise<void>((resolve) => {
      socket.onDatagram = () => resolve();
      socket.send(new Uint8Array(6).fill(7), ipv4FromText("10.0.2.2"), echo.address().port);
    });
  } finally {
    stop();
    await net.close();
    echo.close();
  }
  return file;
}

describe.each([true, false])("with payload %s", (payload) => {
  it("a guest's whole run replays without a difference", async () => {
    const file = await record(payload);
    const result = await replayFile(file);
    expect(result.difference?.message).toBeUndefined();
    expect(result.crash).toBeNull();
    expect(result.broken).toBeNull();
    expect(result.entries).toBeGreaterThan(400);
    expect(result.seconds).toBeGreaterThan(0);
  });

  it("replaying twice gives the same frames, byte by byte", async () => {
    const file = await record(payload);
    const frames = async (): Promise<string[]> => {
      const seen: string[] = [];
      await replayFile(file, {
        onFrame: (_, toGuest, frame) => seen.push(`${toGuest} ${Buffer.from(frame).toString("hex")}`),
      });
      return seen;
    };
    const first = await frames();
    expect(first.length).toBeGreaterThan(50);
    expect(await frames()).toEqual(first);
  });
});

it("a network whose user takes flows over replays", async () => {
  const file = await record(true, {
    onFlow: (flow) =>
      flow.remote.port === 80 && flow.proto === "tcp"
        ? (socket) => socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
        : "allow",
  });
  const { difference, crash } = await replayFile(file);
  expect([difference?.message, crash]).toEqual([undefined, null]);
});

it("a network with rules, whose verdicts come a little later, replays", async () => {
  const file = await record(true, { rules: ["allow tcp 10.0.2.2", "allow udp 0.0.0.0/0", "default deny"] });
  const { difference, crash } = await replayFile(file);
  expect([difference?.message, crash]).toEqual([undefined, null]);
});

it("a network whose connections share a rate replays, read by read", async () => {
  const file = await record(true, { rules: ["allow tcp 0.0.0.0/0 rate=80mbit", "default allow"] });
  const { difference, crash } = await replayFile(file);
  expect([difference?.message, crash]).toEqual([undefined, null]);
  expect([...new RecordingReader(file)].filter(({ name }) => name === "readMost").length).toBeGreaterThan(0);
});

it("without payload a recording holds nothing of what was fetched", async () => {
  const whole = readFileSync(await record(true));
  const blanked = readFileSync(await record(false));
  expect(whole.includes("what the guest fetches")).toBe(true);
  expect(blanked.includes("what the guest fetches")).toBe(false);
  expect(blanked.length).toBeLessThan(whole.length / 4);
});

it("stops where it is told to: before an entry that comes in, or when all is in that had come by then", async () => {
  const file = await record(false);
  const all = await replayFile(file);
  const entries = [...new RecordingReader(file)];
  const told = entries.flatMap(({ name }, i) => (name === "frame" ? [i] : []));
  for (const untilEntry of told.slice(0, 20)) expect((await replayFile(file, { untilEntry })).entries).toBe(untilEntry);
  expect((await replayFile(file, { untilSeconds: all.seconds })).entries).toBe(all.entries);
  for (const share of [0.1, 0.5, 0.9]) {
    const { entries: some, seconds } = await replayFile(file, { untilSeconds: all.seconds * share });
    // The last that came in did so at its first reading of the clock; the network may have read it again since.
    const last = entries.slice(0, some).findLastIndex(({ name }) => ENTRIES[name].direction === "in");
    const readings = entries
      .slice(last, some)
      .flatMap(({ name, values }) => (name === "clock" ? [Number(values[0])] : []));
    const since = readings.slice(1).reduce((sum, micros) => sum + micros, 0) / 1e6;
    expect(seconds - since).toBeLessThanOrEqual(all.seconds * share + 1e-9);
    // What comes next came in later; a poll says itself when.
    if (entries[some]!.name === "poll") continue;
    const next = await replayFile(file, { untilEntry: some + 1 });
    expect(next.seconds).toBeGreaterThan(all.seconds * share);
  }
});

describe("a network that does something else", () => {
  /** Replays with one entry changed. */
  async function changed(change: (entry: Entry) => Entry): Promise<ReplayResult & { readonly at: number }> {
    const reader = new RecordingReader(await record(true));
    const before = [...reader];
    const entries = before.map(change);
    const at = entries.findIndex((entry, i) => entry !== before[i]);
    const config = new RecordingReader(reader.file).header.config;
    return { ...(await replay(reader.header, entries, config as never)), at };
  }

  /** A frame to the guest with another byte. */
  function differing(entry: Entry): Entry {
    const head = (entry.values[3] as Uint8Array).slice();
    head[22]! ^= 1;
    return { ...entry, values: entry.values.map((value, i) => (i === 3 ? head : value)) };
  }

  /** Replays with the `nth` frame to the guest changed that is of this protocol (IP's number) and has this source port. */
  function changedFrame(proto: number, port: number, nth: number): Promise<ReplayResult> {
    let left = nth;
    return changed((entry) => {
      if (entry.name !== "sent") return entry;
      const head = entry.values[3] as Uint8Array;
      if (head[12] !== 8 || head[13] !== 0 || head[23] !== proto || head[34]! * 256 + head[35]! !== port) return entry;
      return left-- === 0 ? differing(entry) : entry;
    });
  }

  it("is shown with its connection's state in that moment", async () => {
    const { flow } = await changedFrame(6, (server.address() as AddressInfo).port, 3);
    expect(flow!.join("\n")).toMatch(
      new RegExp(
        [
          "^tcp 10\\.0\\.2\\.15:\\d+ > 10\\.0\\.2\\.2:\\d+, ESTABLISHED",
          "SND\\.UNA \\d+ \\(ISS\\+\\d+\\), SND\\.NXT \\d+ \\(ISS\\+\\d+\\), SND\\.MAX \\d+ \\(ISS\\+\\d+\\), SND\\.WND \\d+",
          "RCV\\.NXT \\d+ \\(IRS\\+\\d+\\), RCV\\.WND \\d+, no bytes behind a gap",
          "[1-9]\\d* bytes in the send buffer, cwnd \\d+, MSS \\d+",
          ".*; sent again: 0.*",
          "host socket: (?:open|paused), backlog 0",
          "[1-9]\\d* bytes from the guest, [1-9]\\d* bytes to the guest$",
        ].join("\n"),
      ),
    );
  });

  it("is shown with its UDP mapping, or with what the frame is when no flow has it", async () => {
    const echoed = await recordUdp();
    const reader = new RecordingReader(echoed);
    const at = [...reader].findIndex(
      ({ name, values }) => name === "sent" && (values[3] as Uint8Array)[23] === 17 && (values[1] as number) === 48,
    );
    const entries = [...reader].map((entry, i) => (i === at ? differing(entry) : entry));
    const { flow } = await replay(reader.header, entries, reader.header.config as never);
    expect(flow!.join("\n")).toMatch(
      /^udp 10\.0\.2\.15:6000 > 10\.0\.2\.2:\d+\nguest's port 6000, open\nsilence ends the mapping in 1\d\d\.\d{3} s\nlast sent to 127\.0\.0\.1:\d+, 6 bytes; last heard from 127\.0\.0\.1\n6 bytes from the guest, 6 bytes to the guest$/,
    );
    const { flow: none } = await changedFrame(17, 67, 0);
    expect(none).toEqual([expect.stringMatching(/^none, IP 10\.0\.2\.2\.67 > /)]);
  });

  it("is caught at the first frame that differs, with both in words", async () => {
    let done = false;
    const { difference, at } = await changed((entry) => {
      if (done || entry.name !== "sent") return entry;
      done = true;
      return differing(entry);
    });
    expect(difference!.at).toBe(at);
    expect(difference!.message).toMatch(/^entry \d+, \d+\.\d{6} s: recorded sent link=\d+ .*; replayed sent link=\d+ /);
  });

  it("is caught where it does nothing, or something that was not there", async () => {
    const gone = await changed((entry) => (entry.name === "connect" ? { name: "cork", values: [] } : entry));
    expect(gone.difference!.message).toMatch(/recorded cork; replayed connect /);
    const more = await changed((entry) =>
      entry.name === "batchEnd" ? { name: "writable", values: entry.values } : entry,
    );
    expect(more.difference).not.toBeNull();
  });
});

describe("a file that", () => {
  it("ends in the middle of a block, as after a kill, is good up to the block before", async () => {
    const file = await record(true);
    const bytes = readFileSync(file);
    for (const cut of [1, 100, bytes.length >> 1]) {
      writeFileSync(file, bytes.subarray(0, bytes.length - cut));
      const { difference, crash, broken } = await replayFile(file);
      expect([difference, crash]).toEqual([null, null]);
      expect(broken).toMatch(/^block \d+ is cut off$/);
    }
  });

  it("has a bit flipped is good up to that block, and says which", async () => {
    const file = await record(true);
    const bytes = readFileSync(file);
    bytes[bytes.length - 10]! ^= 4;
    writeFileSync(file, bytes);
    expect((await replayFile(file)).broken).toMatch(/^block \d+ has other bytes than were written$/);
  });

  it("is none of ours, or newer, is refused in one line", async () => {
    const file = path.join(folder, "other");
    const block = Buffer.from(JSON.stringify({ version: 99, package: "9.9.9" }));
    const framing = Buffer.alloc(8);
    framing.writeUInt32LE(block.length, 0);
    framing.writeUInt32LE(crc32(block), 4);
    for (const [bytes, complaint] of [
      [Buffer.from("GIF89a"), "is no recording of tslirp's"],
      [Buffer.from(MAGIC), "ends before its header"],
      [Buffer.concat([Buffer.from(MAGIC), framing, block]), "has version 99, written by tslirp 9.9.9"],
    ] as const) {
      writeFileSync(file, bytes);
      await expect(replayFile(file)).rejects.toThrow(complaint);
    }
    await expect(replayFile(path.join(folder, "none"))).rejects.toThrow(
      /^cannot read .*: there is no such file or folder$/,
    );
  });

  it("is a folder has a recording in it, named by the date", async () => {
    const net = await createNetwork({ record: folder });
    await net.close();
    const [name, ...others] = readdirSync(folder).filter((each) => each.endsWith(".tslirp"));
    expect(others).toEqual([]);
    expect((await replayFile(path.join(folder, name!))).difference).toBeNull();
  });

  it("exists is not written over", async () => {
    const file = await record(true);
    const before = readFileSync(file);
    await expect(createNetwork({ record: file })).rejects.toThrow(
      /^cannot record to .*: the file exists; expected a new one$/,
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });
});

describe("entries", () => {
  it("are read as they were written", () => {
    const writer = new BlockWriter(4);
    const entries: Entry[] = [
      { name: "clock", values: [-5] },
      { name: "clock", values: [2 ** 40] },
      { name: "random", values: [0xfedcba98] },
      { name: "drop", values: ["cable-full"] },
      { name: "connect", values: [300, { host: "127.0.0.1", port: 1 }, null] },
      { name: "sendUdp", values: [{ map: 1 }, [new Map([["a", 1]])], new Uint8Array([1, 2])] },
    ];
    for (const { name, values } of entries) writer.entry(name, values);
    expect([...readEntries(writer.take())]).toEqual(entries);
  });

  it("hold bytes of a long buffer as of a short one, wherever they stand", () => {
    const long = Uint8Array.from({ length: 5_000 }, (_, i) => i * 7);
    const writer = new BlockWriter(16);
    const spans = Array.from({ length: 200 }, (_, i) => long.subarray(i * 3, i * 3 + i));
    spans.forEach((span, i) => {
      writer.begin(TAGS.get("takenSend")!);
      writer.number(i);
      if (i % 2 === 0) writer.span(long, i * 3, i);
      else writer.span(span, 0, i);
    });
    expect([...readEntries(writer.take())].map(({ values }) => values)).toEqual(spans.map((span, i) => [i, span]));
  });

  it("that have been taken are not written over before they are given back, and little of it keeps no large buffer", () => {
    const writer = new BlockWriter(1_000);
    const taken = [1, 2, 3].map((value) => {
      for (let i = 0; i < 150; i++) writer.entry("random", [value]);
      return writer.take();
    });
    const values = (block: Uint8Array): unknown[] => [
      ...new Set([...readEntries(block)].map((each) => each.values[0])),
    ];
    expect(taken.map(values)).toEqual([[1], [2], [3]]);
    writer.give(taken[1]!);
    for (let i = 0; i < 150; i++) writer.entry("random", [4]);
    const again = writer.take();
    expect([values(again), values(taken[0]!), values(taken[2]!)]).toEqual([[4], [1], [3]]);
    for (let i = 0; i < 150; i++) writer.entry("random", [5]);
    expect(writer.take().buffer).toBe(taken[1]!.buffer);
    writer.entry("random", [6]);
    expect(writer.take().buffer.byteLength).toBe(5);
  });

  it("of any bytes are entries, or an Error of one line", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          for (const { values } of readEntries(bytes)) expect(values.length).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect((error as Error).message).not.toMatch(/[\r\n]/);
        }
      }),
    );
  });

  it("are checked by the CRC that every Node has", () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => crc32(bytes) === scalarCrc32(bytes)));
  });
});
