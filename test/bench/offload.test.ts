/** What the bench's bridge does for a guest with `offload`: packets cut to frames, frames merged to packets. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { compileTool } from "../../bench/system/tools.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";

const check = compileTool("offload-check");

/** virtio_net_hdr, in the byte order of the machines that tests run on. */
interface Todo {
  /** 1: the checksum is to be completed. */
  readonly flags: number;
  /** 1: TCP over IPv4, 0: one frame as it is. */
  readonly type: number;
  readonly mss: number;
  readonly sumStart: number;
  readonly sumOffset: number;
}
const VNET = 10;
const [NEEDS_SUM, TCPV4, ETHER, IP] = [1, 1, 14, 20];

function records(pieces: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    pieces.flatMap((piece) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(piece.length);
      return [length, piece];
    }),
  );
}

function run(mode: "cut" | "merge", pieces: readonly Uint8Array[]): { out: Buffer[]; wrongSums: number } {
  const { status, stdout, stderr } = spawnSync(check!, [mode], { input: records(pieces), maxBuffer: 1 << 24 });
  expect(status).toBe(0);
  const out: Buffer[] = [];
  for (let at = 0; at < stdout.length; at += 4 + out.at(-1)!.length)
    out.push(stdout.subarray(at + 4, at + 4 + stdout.readUInt32BE(at)));
  return { out, wrongSums: Number(String(stderr)) };
}

function behind(todo: Todo, packet: Uint8Array): Buffer {
  const head = Buffer.alloc(VNET);
  head.writeUInt8(todo.flags, 0);
  head.writeUInt8(todo.type, 1);
  for (const [i, value] of [0, todo.mss, todo.sumStart, todo.sumOffset].entries()) head.writeUInt16LE(value, 2 + 2 * i);
  return Buffer.concat([head, packet]);
}

function opened(record: Buffer): { todo: Todo; packet: Buffer } {
  const [mss, sumStart, sumOffset] = [4, 6, 8].map((at) => record.readUInt16LE(at));
  const todo = { flags: record[0]!, type: record[1]!, mss: mss!, sumStart: sumStart!, sumOffset: sumOffset! };
  return { todo, packet: record.subarray(VNET) };
}

const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7919) >> 3);
const cut = (todo: Todo, packet: Uint8Array): Buffer[] => run("cut", [behind(todo, packet)]).out;
const merge = (...specs: FrameSpec[]) => {
  const { out, wrongSums } = run("merge", specs.map(encodeFrame));
  return { packets: out.map(opened), wrongSums };
};

const MSS = 1448;
const timestamps = [7, 9] as const;
const TSO: Todo = { flags: NEEDS_SUM, type: TCPV4, mss: MSS, sumStart: ETHER + IP, sumOffset: 16 };
/** The nth segment of a flow. */
const segment = (n: number, length = MSS, more: FrameSpec = {}): FrameSpec => ({
  ip: { id: 40 + n, ...more.ip },
  tcp: { seq: (0xfffff000 + n * MSS) >>> 0, flags: "ACK", options: { timestamps }, ...more.tcp },
  payload: more.payload ?? noise(3 * MSS).subarray(n * 10, n * 10 + length),
  padding: more.padding ?? 0,
});

describe.skipIf(check === null)("the bench's bridge, for a guest with offload", () => {
  it("cuts a large segment to frames of the MTU that are right in everything", () => {
    const payload = noise(4 * MSS + 100);
    const tcp = { seq: 0xfffff000, ack: 5, flags: "FIN PSH ACK", window: 512, options: { timestamps } };
    const frames = cut(TSO, encodeFrame({ ip: { id: 0xfffe }, tcp, payload })).map(decodeFrame);
    expect(frames.flatMap((f) => f.problems)).toEqual([]);
    expect(frames.map((f) => f.ip!.id)).toEqual([0xfffe, 0xffff, 0, 1, 2]);
    expect(frames.map((f) => f.tcp!.seq)).toEqual([0, 1, 2, 3, 4].map((n) => (0xfffff000 + n * MSS) >>> 0));
    expect(frames.map((f) => f.tcp!.flags)).toEqual(["ACK", "ACK", "ACK", "ACK", "FIN PSH ACK"]);
    for (const { tcp } of frames) expect(tcp).toMatchObject({ ack: 5, window: 512, options: { timestamps } });
    expect(Buffer.concat(frames.map((f) => f.payload)).equals(payload)).toBe(true);
  });

  it("completes the checksum of any protocol, and leaves a frame with nothing to do as it is", () => {
    const udp: FrameSpec = { udp: { srcPort: 1, dstPort: 2 }, payload: noise(33) };
    const whole = Buffer.from(encodeFrame(udp));
    const partial = Buffer.from(whole);
    // What the kernel leaves there is the pseudo header's sum: addresses, protocol, length.
    let pseudo = 17 + 41;
    for (let at = ETHER + 12; at < ETHER + IP; at += 2) pseudo += whole.readUInt16BE(at);
    partial.writeUInt16BE((pseudo & 0xffff) + (pseudo >>> 16), ETHER + IP + 6);
    const todo = { flags: NEEDS_SUM, type: 0, mss: 0, sumStart: ETHER + IP, sumOffset: 6 };
    expect(cut(todo, partial)).toEqual([whole]);
    expect(cut({ ...todo, flags: 0 }, partial)).toEqual([partial]);
  });

  it("merges consecutive segments, and what it merged is cut to the same frames again", () => {
    const segments = [segment(0), segment(1), segment(2, 100, { tcp: { flags: "PSH ACK" } })];
    const { packets, wrongSums } = merge(...segments);
    expect(packets.map((p) => p.todo)).toEqual([TSO]);
    expect(wrongSums).toBe(0);
    const again = packets.flatMap((p) => cut(p.todo, p.packet));
    expect(again.map((f) => decodeFrame(f).problems)).toEqual([[], [], []]);
    expect(again).toEqual(segments.map((s) => Buffer.from(encodeFrame(s))));
  });

  it.each<[string, FrameSpec]>([
    ["of another flow", segment(1, MSS, { tcp: { srcPort: 99 } })],
    ["with a gap before it", segment(2)],
    ["with another acknowledgement", segment(1, MSS, { tcp: { ack: 1 } })],
    ["with another window", segment(1, MSS, { tcp: { window: 7 } })],
    ["with other options", segment(1, MSS, { tcp: { options: { timestamps: [8, 9] } } })],
    ["that ends the stream", segment(1, MSS, { tcp: { flags: "FIN ACK" } })],
    ["longer than the first", segment(1, MSS + 1)],
    ["without a payload", segment(1, 0)],
    ["with another time to live", segment(1, MSS, { ip: { ttl: 9 } })],
    ["that may be fragmented", segment(1, MSS, { ip: { df: false } })],
    ["of another protocol", { udp: {}, payload: noise(20) }],
  ])("does not merge a segment %s", (_, other) => {
    const { packets, wrongSums } = merge(segment(0), other);
    expect(packets.map((p) => p.todo.flags + p.todo.type)).toEqual([0, 0]);
    expect(packets.map((p) => p.packet)).toEqual([segment(0), other].map((s) => Buffer.from(encodeFrame(s))));
    expect(wrongSums).toBe(0);
  });

  it("merges nothing behind a pushed or a shorter segment", () => {
    const push = segment(0, MSS, { tcp: { flags: "PSH ACK" } });
    expect(merge(push, segment(1)).packets).toHaveLength(2);
    const short = segment(2, MSS, { tcp: { seq: segment(1).tcp!.seq! + 9 } });
    expect(merge(segment(0), segment(1, 9), short).packets).toHaveLength(2);
  });

  it("hands a segment with a wrong checksum on as it is, and counts it", () => {
    const wrong = segment(1, MSS, { tcp: { checksum: 1 } });
    const { packets, wrongSums } = merge(segment(0), wrong, segment(2));
    expect(packets.map((p) => p.packet)).toEqual(
      [segment(0), wrong, segment(2)].map((s) => Buffer.from(encodeFrame(s))),
    );
    expect(wrongSums).toBe(1);
  });

  it("takes the padding of a short frame for no payload", () => {
    const next = segment(1, 3, { tcp: { seq: segment(0).tcp!.seq! + 3 } });
    const { packets } = merge(segment(0, 3, { padding: 20 }), next);
    expect(packets).toHaveLength(1);
    expect(decodeFrame(packets[0]!.packet).payload).toHaveLength(6);
  });
});
