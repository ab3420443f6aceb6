/** Segments that follow one another are a count in a recording, and read as they were. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { createNetwork } from "../../src/index.ts";
import { BlockWriter, readEntries } from "../../src/record/codec.ts";
import { RecordingReader, writeRecording } from "../../src/record/file.ts";
import type { Entry } from "../../src/record/format.ts";
import { AS_FOUND, keptLength, UNKNOWN } from "../../src/record/frames.ts";
import { replayFile } from "../../src/record/run.ts";
import { put16 } from "../../src/wire/bytes.ts";
import { finish, sum } from "../../src/wire/checksum.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";
import { GATEWAY_MAC, GUEST_IP, GUEST_MAC } from "../support/packet-script.ts";

const ROOM = 65_536;
const eth = { src: GUEST_MAC, dst: GATEWAY_MAC };

/** A segment of a connection, as a guest's kernel would number it. */
function segment(family: 4 | 6, seq: number, id: number, length: number, options: object = {}): Uint8Array {
  const ip =
    family === 4 ? { ip: { src: GUEST_IP, dst: "10.0.2.2", id } } : { ip6: { src: "fd00::15", dst: "fd00::2" } };
  const tcp = { srcPort: 5_000, dstPort: 80, seq, ack: 77, flags: "ACK", window: 500, ...options };
  return encodeFrame({ eth, ...ip, tcp, payload: new Uint8Array(length).fill(7) });
}

/** The entry with TCP's checksum, which covers payload that was left out, as zero. */
function unsummed({ name, values }: Entry): Entry {
  const head = (values[name === "frame" ? 4 : 3] as Uint8Array).slice();
  const tcp = head[12] === 8 ? 34 : 54;
  if (head.length >= tcp + 18) put16(head, tcp + 16, 0);
  return { name, values: values.map((value) => (value instanceof Uint8Array ? head : value)) };
}

/** Writes frames as a recorder does: `goesOn` first. */
class Frames {
  readonly block: BlockWriter = new BlockWriter();
  readonly read: Entry[] = [];
  readonly meant: Entry[] = [];
  readonly slab: Uint8Array = new Uint8Array(ROOM);
  runs = 0;
  bytes = 0;

  put(name: "frame" | "sent", frame: Uint8Array, { link = 1, undone = 0, sealed = AS_FOUND } = {}): void {
    const { block, slab } = this;
    const at = (this.meant.length * 2_048) % (ROOM / 2);
    slab.set(frame, at);
    const len = frame.length;
    const kept = keptLength(slab, at, len);
    const head = frame.slice(0, kept);
    const entry: Entry =
      name === "frame"
        ? { name, values: [link, undone, len - kept, sealed, head] }
        : { name, values: [link, len, undone, head, 0] };
    this.meant.push(entry);
    if (sealed !== UNKNOWN && block.goesOn(name === "frame", link, undone, slab, at, len)) this.runs++;
    else if (name === "frame") block.frame(link, undone, sealed, slab, at, kept, len);
    else block.sent(link, undone, slab, at, kept, len, 0);
  }

  take(): void {
    const bytes = this.block.take();
    this.bytes += bytes.length;
    this.read.push(...readEntries(bytes.slice()));
    this.block.give(bytes);
  }
}

describe.each([4, 6] as const)("IPv%i", (family) => {
  it.each([0, 1])("a bulk transfer whose identifications grow by %i takes a byte or two a dozen segments", (step) => {
    const frames = new Frames();
    // All three numbers pass their largest value.
    for (let i = 0; i < 1_000; i++)
      frames.put("frame", segment(family, (0xffff_0000 + i * 1_000) >>> 0, (0xff00 + i * step) & 0xffff, 1_000));
    frames.take();
    expect(frames.read.map(unsummed)).toEqual(frames.meant.map(unsummed));
    expect(frames.bytes).toBeLessThan(400);
  });

  it.each([1, 2, 3, 4])("whatever differs begins anew, and all frames read as they were, seed %i", (seed) => {
    const random = new SeededRandom(seed);
    const below = (n: number): number => random.u32() % n;
    const frames = new Frames();
    let seq = random.u32();
    let id = below(65_536);
    const length = 100 + below(1_000);
    for (let i = 0; i < 1_000; i++) {
      const name = below(40) === 0 ? "sent" : "frame";
      const how = below(12);
      const size = how === 0 ? length + below(3) : length;
      const frame = segment(family, seq, id, size, how === 1 ? { flags: "ACK PSH" } : {});
      if (how === 2) {
        // One bit of the headers, with IPv4's checksum as it was or made right.
        const bit = below(8 * (family === 4 ? 54 : 74));
        frame[bit >> 3]! ^= 1 << (bit & 7);
        if (below(2) === 0 && frame[14] === 0x45) {
          put16(frame, 24, 0);
          put16(frame, 24, finish(sum(frame, 14, 20)));
        }
      }
      const other = { link: how === 3 ? 2 : 1, undone: how === 4 ? 1 : 0, sealed: how === 5 ? UNKNOWN : AS_FOUND };
      frames.put(name, frame, other);
      if (how === 6) frames.take();
      if (how === 7) frames.block.entry("drain", [7]);
      seq = how === 8 ? random.u32() : (seq + size) >>> 0;
      id = (id + (how === 9 ? below(3) : 1)) & 0xffff;
    }
    frames.take();
    const read = frames.read.filter(({ name }) => name !== "drain");
    expect(read.map(unsummed)).toEqual(frames.meant.map(unsummed));
    expect(frames.runs).toBeGreaterThan(100);
  });
});

it("a segment whose checksum is another thing than payload's is written in full", () => {
  const frames = new Frames();
  for (let i = 0; i < 10; i++) frames.put("frame", segment(4, i * 1_000, i, 1_000), { sealed: UNKNOWN });
  frames.take();
  expect(frames.read).toEqual(frames.meant);
});

it.each([
  ["without a frame before it", [], 1, 1, "a run follows no segment"],
  ["behind a frame that is no segment", [{ name: "frame", values: [1, 0, 0, 0, new Uint8Array(60)] }], 1, 1, "a run"],
  ["behind another entry", [{ name: "drain", values: [1] }], 1, 1, "a run follows no segment"],
  ["of too many frames", [], 1, 128, "a run of 128 frames"],
  ["with other steps", [], 2, 1, "a run of 1 frames with steps of 2"],
] as const)("a run %s is no recording's", (_, before, step, count, complaint) => {
  const block = new BlockWriter();
  for (const { name, values } of before) block.entry(name, values);
  block.entry("run", [step, count]);
  expect(() => [...readEntries(block.take())]).toThrow(complaint);
});

it("a long transfer both ways is recorded in few bytes, replays without a difference, and stays small rewritten", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  const BULK = 4_000_000;
  let received = 0;
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", ({ length }) => {
      received += length;
      if (received === BULK) socket.write(new Uint8Array(BULK).fill(5));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const file = path.join(folder, "run.tslirp");
    const network = await createNetwork({ record: { file, payload: false } });
    const cable = network.cable();
    const { port } = server.address() as AddressInfo;
    let [seq, ack, acked, down] = [1_000, 0, 0, 0];
    let came = (): void => {};
    const frame = (flags: string, length = 0): Uint8Array => {
      const tcp = {
        srcPort: 5_000,
        dstPort: port,
        seq,
        ack,
        flags,
        window: 65_535,
        options: flags === "SYN" ? { mss: 1_460, windowScale: 7 } : {},
      };
      const spec = { eth, ip: { src: GUEST_IP, dst: "10.0.2.2" }, tcp, payload: new Uint8Array(length) } as FrameSpec;
      seq = (seq + length + (flags === "SYN" ? 1 : 0)) >>> 0;
      return encodeFrame(spec);
    };
    cable.onFrame = (bytes) => {
      const { tcp, payload } = decodeFrame(bytes);
      if (tcp === undefined) return;
      const length = payload?.length ?? 0;
      ack = (tcp.seq! + length + (tcp.flags!.includes("SYN") ? 1 : 0)) >>> 0;
      acked = tcp.ack!;
      down += length;
      if (length > 0) cable.send(frame("ACK"));
      came();
    };
    const until = async (done: () => boolean): Promise<void> => {
      while (!done())
        await new Promise<void>((resolve) => {
          came = resolve;
        });
    };
    cable.send(encodeFrame({ eth, arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } }));
    cable.send(frame("SYN"));
    await until(() => ack !== 0);
    for (let up = 0; up < BULK; ) {
      const lengths: number[] = [];
      for (; lengths.length < 40 && up < BULK; up += lengths.at(-1)!) lengths.push(Math.min(1_000, BULK - up));
      cable.send(...lengths.map((length) => frame("ACK", length)));
      await until(() => acked === seq);
    }
    await until(() => down === BULK);
    await network.close();

    const entries = [...new RecordingReader(file)];
    const count = (name: string): number => entries.filter((entry) => entry.name === name).length;
    expect(count("frame")).toBeGreaterThan(BULK / 1_000);
    expect(count("landed")).toBeGreaterThan(0);
    const { difference, crash } = await replayFile(file);
    expect([difference?.message, crash]).toEqual([undefined, null]);
    const again = path.join(folder, "again.tslirp");
    const reader = new RecordingReader(file);
    writeRecording(again, reader.header, reader);
    expect(statSync(again).size).toBeLessThan(1.01 * statSync(file).size);
    expect((await replayFile(again)).difference).toBeNull();
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});
