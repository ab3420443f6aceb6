import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  VIRTIO_NET_HEADER,
  VIRTIO_OTHER_SUM,
  VIRTIO_REFUSED,
  virtioSumField,
  virtioSumStart,
  virtioUndone,
  virtioWrite,
} from "../../src/wire/virtio-net.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { undoneFrame } from "../support/offload.ts";

const TCP4: FrameSpec = { ip: {}, tcp: { flags: "ACK", options: { timestamps: [1, 2] } }, payload: "x".repeat(3_000) };
const TCP6: FrameSpec = { ip6: {}, tcp: { flags: "ACK" }, payload: "x".repeat(3_000) };
const UDP4: FrameSpec = { ip: {}, udp: {}, payload: "hi" };
const UDP6: FrameSpec = { ip6: {}, udp: {}, payload: "hi" };

function header(flags: number, gso: number, hdrLen: number, size: number, start: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_NET_HEADER);
  const view = new DataView(bytes.buffer);
  bytes.set([flags, gso]);
  [hdrLen, size, start, offset].forEach((value, i) => {
    view.setUint16(2 + 2 * i, value, true);
  });
  return bytes;
}

function undone(spec: FrameSpec, ...of: Parameters<typeof header>): number {
  const frame = undoneFrame(spec);
  return virtioUndone(header(...of), 0, frame, 0, frame.length);
}

describe("struct virtio_net_hdr", () => {
  test("says of every kind of frame what is undone, and the same comes back", () => {
    for (const [spec, start, offset, gso, head] of [
      [TCP4, 34, 16, 1, 66],
      [TCP6, 54, 16, 4, 74],
      [UDP4, 34, 6, 0, 0],
      [UDP6, 54, 6, 0, 0],
    ] as const) {
      const frame = undoneFrame(spec);
      const hdr = new Uint8Array(VIRTIO_NET_HEADER).fill(0xee);
      virtioWrite(hdr, 0, 1, frame, 0, frame.length);
      expect(hdr).toEqual(header(1, 0, 0, 0, start, offset));
      expect(virtioUndone(hdr, 0, frame, 0, frame.length)).toBe(1);
      if (gso === 0) continue;
      virtioWrite(hdr, 0, 1_448, frame, 0, frame.length);
      expect(hdr).toEqual(header(1, gso, head, 1_448, start, offset));
      expect(virtioUndone(hdr, 0, frame, 0, frame.length)).toBe(1_448);
    }
    const plain = encodeFrame(TCP4);
    const hdr = new Uint8Array(VIRTIO_NET_HEADER).fill(0xee);
    virtioWrite(hdr, 0, 0, plain, 0, plain.length);
    expect(hdr).toEqual(header(0, 0, 0, 0, 0, 0));
    expect(virtioUndone(hdr, 0, plain, 0, plain.length)).toBe(0);
  });

  test("a frame that needs nothing is complete, DATA_VALID changes nothing", () => {
    expect(undone(TCP4, 0, 0, 0, 0, 0, 0)).toBe(0);
    expect(undone(TCP4, 2, 0, 0, 0, 0, 0)).toBe(0);
  });

  test("segments below 64 bytes are raised to that", () => {
    expect(undone(TCP4, 1, 1, 66, 40, 34, 16)).toBe(64);
  });

  test.each([
    ["gso without a checksum", TCP4, [0, 1, 66, 1_448, 34, 16]],
    ["gso_size 0", TCP4, [1, 1, 66, 0, 34, 16]],
    ["TCP over IPv6 on IPv4", TCP4, [1, 4, 66, 1_448, 34, 16]],
    ["TCP over IPv4 on IPv6", TCP6, [1, 1, 74, 1_448, 54, 16]],
    ["TCP on UDP", UDP4, [1, 1, 42, 1_448, 34, 6]],
    ["UDP fragments", UDP4, [1, 3, 42, 1_448, 34, 6]],
    ["UDP segments", UDP4, [1, 5, 42, 1_448, 34, 6]],
    ["a type that does not exist", TCP4, [1, 7, 66, 1_448, 34, 16]],
    ["a mark of congestion, which no cable offers to take", TCP4, [1, 0x81, 66, 1_448, 34, 16]],
    ["the same over IPv6", TCP6, [1, 0x84, 74, 1_448, 54, 16]],
    ["the mark alone", TCP4, [0, 0x80, 0, 0, 0, 0]],
    ["the mark alone, with a checksum", TCP4, [1, 0x80, 0, 0, 34, 16]],
    ["csum_start beyond the frame", TCP4, [1, 0, 0, 0, 65_535, 16]],
    ["csum_offset beyond the frame", TCP4, [1, 0, 0, 0, 34, 65_535]],
    ["csum_start in the Ethernet header", TCP4, [1, 0, 0, 0, 6, 0]],
    ["gso with a csum_start that is not TCP's", TCP4, [1, 1, 66, 1_448, 38, 16]],
  ] as const)("%s is refused", (_name, spec, of) => {
    expect(undone(spec, ...(of as unknown as Parameters<typeof header>))).toBe(VIRTIO_REFUSED);
  });

  test("a checksum elsewhere (in a tunnel) is the attachment's to complete", () => {
    expect(undone(UDP4, 1, 0, 0, 0, 36, 2)).toBe(VIRTIO_OTHER_SUM);
    const hdr = header(1, 0, 0, 0, 36, 2);
    expect([virtioSumStart(hdr, 0), virtioSumField(hdr, 0)]).toEqual([36, 38]);
  });

  test("no header and no frame reads outside the frame", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        fc.constantFrom(TCP4, TCP6, UDP4, UDP6),
        fc.nat(80),
        fc.array(fc.tuple(fc.nat(79), fc.nat(255)), { maxLength: 4 }),
        (hdr, spec, length, lies) => {
          const frame = undoneFrame(spec).slice(0, length);
          for (const [at, value] of lies) if (at < frame.length) frame[at] = value;
          const strict = new Proxy(frame, {
            get: (target, key) => {
              if (typeof key === "string" && /^\d+$/.test(key) && Number(key) >= target.length)
                throw new Error(`read at ${key} of ${target.length}`);
              const value = Reflect.get(target, key, target) as unknown;
              return typeof value === "function" ? value.bind(target) : value;
            },
          });
          const found = virtioUndone(hdr, 0, strict, 0, frame.length);
          expect(found === VIRTIO_REFUSED || found === VIRTIO_OTHER_SUM || found <= 1 || found >= 64).toBe(true);
        },
      ),
    );
  });
});
