import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { finished } from "../../src/attach/undone.ts";
import { newPieces, pieceLength, planPieces, writePiece } from "../../src/wire/segmentation.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";
import { undoneFrame } from "../support/offload.ts";

function bytes(n: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff);
}

const family = fc.constantFrom<FrameSpec>(
  { ip: { src: "10.0.2.2", dst: "10.0.2.15", id: 65_533, df: true } } as FrameSpec,
  { ip6: { src: "fec0::2", dst: "fec0::15" } },
);
const options = fc.constantFrom({}, { timestamps: [7, 9] as const }, { raw: [1, 1, 1, 1] });

describe("a long TCP segment, cut", () => {
  test("is what would have been sent singly: every header and checksum right, every byte once and in order", () => {
    fc.assert(
      fc.property(
        family,
        options,
        fc.integer({ min: 0, max: 5_000 }),
        fc.integer({ min: 64, max: 2_000 }),
        fc.constantFrom("ACK", "ACK PSH", "ACK FIN", "ACK PSH FIN"),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        (ip, tcpOptions, length, size, flags, seq) => {
          const payload = bytes(length);
          const frame = undoneFrame({ ...ip, tcp: { flags, seq, options: tcpOptions }, payload });
          const pieces = finished(frame, 0, frame.length, size)!.map(decodeFrame);
          expect(pieces.flatMap((p) => p.problems)).toEqual([]);
          expect(pieces.length).toBe(Math.max(1, Math.ceil(length / size)));
          expect(Buffer.concat(pieces.map((p) => p.payload))).toEqual(Buffer.from(payload));
          const whole = decodeFrame(frame);
          pieces.forEach((piece, i) => {
            const last = i === pieces.length - 1;
            expect(piece.payload.length).toBe(last ? length - i * size : size);
            expect(piece.eth).toEqual(whole.eth);
            expect(piece.tcp!.seq).toBe((seq + i * size) % 2 ** 32);
            expect(piece.tcp!.options).toEqual(whole.tcp!.options);
            expect(piece.tcp!.window).toBe(whole.tcp!.window);
            expect(piece.tcp!.flags).toBe(last ? whole.tcp!.flags : "ACK");
            if (whole.ip !== undefined) expect(piece.ip!.id).toBe((whole.ip.id + i) & 0xffff);
          });
        },
      ),
    );
  });

  test("has CWR on its first piece only (RFC 3168 section 6.1.2), and ECE and URG on all", () => {
    const frame = undoneFrame({ ip: {}, tcp: { flags: "ACK URG", urgent: 3 }, payload: bytes(300) });
    frame[14 + 20 + 13]! |= 0xc0;
    const pieces = finished(frame, 0, frame.length, 100)!;
    expect(pieces.map((p) => p[14 + 20 + 13]! & 0xe0)).toEqual([0xe0, 0x60, 0x60]);
    for (const piece of pieces) expect(decodeFrame(piece).problems).toEqual([]);
  });

  test("keeps its 802.1Q tags", () => {
    const plain = undoneFrame({ ip: {}, tcp: { flags: "ACK" }, payload: bytes(300) });
    const tagged = new Uint8Array([...plain.slice(0, 12), 0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, ...plain.slice(12)]);
    const pieces = finished(tagged, 0, tagged.length, 100)!;
    expect(pieces.length).toBe(3);
    for (const piece of pieces) {
      expect(piece.slice(12, 20)).toEqual(Uint8Array.of(0x88, 0xa8, 0, 7, 0x81, 0, 0, 9));
      expect(decodeFrame(new Uint8Array([...piece.slice(0, 12), ...piece.slice(20)])).problems).toEqual([]);
    }
  });

  test("through a routing header is summed for the destination that counts", () => {
    // Segments left 1: the final destination stands in the routing header, and the sender has summed that one.
    const inner = encodeFrame({ ip6: { src: "fec0::2", dst: "fec0::99" }, tcp: { flags: "ACK" }, payload: bytes(300) });
    const final = decodeFrame(
      undoneFrame({ ip6: { src: "fec0::2", dst: "fec0::99" }, tcp: { flags: "ACK" }, payload: bytes(300) }),
    );
    const routing = new Uint8Array(24);
    routing.set([6, 2, 0, 0], 0);
    const frame = new Uint8Array([...inner.slice(0, 54), ...routing, ...inner.slice(54)]);
    new DataView(frame.buffer).setUint16(18, inner.length - 54 + 24);
    frame[20] = 43;
    new DataView(frame.buffer).setUint16(54 + 24 + 16, final.tcp!.checksum);
    const pieces = finished(frame, 0, frame.length, 100)!;
    for (const piece of pieces) {
      const bare = new Uint8Array([...piece.slice(0, 54), ...piece.slice(78)]);
      bare[20] = 6;
      new DataView(bare.buffer).setUint16(18, bare.length - 54);
      expect(decodeFrame(bare).problems).toEqual([]);
    }
  });
});

describe("a checksum left undone", () => {
  test("is filled in, of either family and protocol, padding left away", () => {
    fc.assert(
      fc.property(family, fc.boolean(), fc.integer({ min: 0, max: 1_500 }), fc.nat(30), (ip, tcp, length, padding) => {
        const spec: FrameSpec = {
          ...ip,
          ...(tcp ? { tcp: { flags: "ACK PSH" } } : { udp: {} }),
          payload: bytes(length),
        };
        const frame = undoneFrame(spec);
        const padded = new Uint8Array([...frame, ...new Uint8Array(padding)]);
        const [whole, ...others] = finished(padded, 0, padded.length, 1)!;
        expect(others).toEqual([]);
        expect(whole).toEqual(encodeFrame(spec));
      }),
    );
  });

  test("of a UDP datagram that sums to nothing goes out as all ones (RFC 768)", () => {
    const spec = { ip6: { src: "fec0::2", dst: "fec0::15" }, udp: {}, payload: new Uint8Array(2) };
    const sum = decodeFrame(encodeFrame(spec)).udp!.checksum;
    // The payload takes the sum to all ones, whose complement is zero.
    const payload = Uint8Array.of(sum >> 8, sum & 255);
    const frame = undoneFrame({ ...spec, payload });
    expect(decodeFrame(finished(frame, 0, frame.length, 1)![0]!).udp!.checksum).toBe(0xffff);
  });
});

test("what is no TCP or UDP packet in one piece is refused, whatever it says", () => {
  const p = newPieces();
  const refused = (frame: Uint8Array, size = 0): boolean => !planPieces(frame, 0, frame.length, size, p);
  const tcp = undoneFrame({ ip: {}, tcp: { flags: "ACK" }, payload: bytes(300) });
  for (let len = 0; len < tcp.length; len++) expect(planPieces(tcp, 0, len, 100, p)).toBe(false);
  expect(refused(encodeFrame({ ip: {}, icmp: {}, payload: "x" }))).toBe(true);
  expect(refused(encodeFrame({ arp: {} }))).toBe(true);
  expect(refused(undoneFrame({ ip: {}, udp: {}, payload: bytes(300) }), 100)).toBe(true);
  const fragment = tcp.slice();
  fragment[20] = 0x20;
  expect(refused(fragment, 100)).toBe(true);
  const offset = tcp.slice();
  offset[14 + 20 + 12] = 0x40;
  expect(refused(offset, 100)).toBe(true);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 3_000 }), (noise, size) => {
      const frame = new Uint8Array([...tcp.slice(0, 14), ...noise]);
      frame[12] = 8;
      if (!planPieces(frame, 0, frame.length, size, p)) return;
      for (let i = 0; i < p.count; i++) writePiece(frame, 0, p, i, new Uint8Array(pieceLength(p, i)), 0);
    }),
  );
});
