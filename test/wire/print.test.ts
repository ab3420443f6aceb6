import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { printFrame } from "../../src/wire/print.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";

function summary(spec: FrameSpec): string {
  const frame = encodeFrame(spec);
  return printFrame(frame, 0, frame.length).summary;
}

describe("a frame in words", () => {
  const ip = { src: "10.0.2.15", dst: "198.51.100.1" };
  test("TCP", () => {
    const tcp = { srcPort: 40000, dstPort: 80, seq: 5, ack: 6, flags: "PSH ACK", window: 100, options: { mss: 1460 } };
    expect(summary({ ip, tcp, payload: "hello" })).toBe(
      "IP 10.0.2.15.40000 > 198.51.100.1.80: Flags [P.], seq 5, ack 6, win 100, length 5",
    );
  });

  test("UDP", () => {
    expect(summary({ ip, udp: { srcPort: 1, dstPort: 2 }, payload: "abc" })).toBe(
      "IP 10.0.2.15.1 > 198.51.100.1.2: UDP, length 3",
    );
  });

  test("ICMP", () => {
    expect(summary({ ip, icmp: { type: 8, id: 7, seq: 9 }, payload: "abc" })).toBe(
      "IP 10.0.2.15 > 198.51.100.1: ICMP echo request, id 7, seq 9, length 11",
    );
  });

  test("ARP", () => {
    expect(summary({ arp: { senderIp: "10.0.2.15", targetIp: "10.0.2.2" } })).toBe(
      "ARP who has 10.0.2.2, tell 10.0.2.15",
    );
  });

  test("its headers, field by field", () => {
    const frame = encodeFrame({ ip, udp: { srcPort: 1, dstPort: 2 }, payload: "abc" });
    const { layers } = printFrame(frame, 0, frame.length);
    expect(layers.map(({ name }) => name)).toEqual(["Ethernet", "IPv4", "UDP"]);
    expect(Object.fromEntries(layers[1]!.fields)).toMatchObject({ source: "10.0.2.15", destination: "198.51.100.1" });
  });

  test("any bytes whatever, cut anywhere, never throw", () => {
    const good = encodeFrame({
      ip,
      tcp: { srcPort: 1, dstPort: 2, seq: 0, ack: 0, flags: "SYN", window: 1 },
      payload: "x",
    });
    const frames = fc.oneof(
      fc.uint8Array({ maxLength: 120 }),
      fc.tuple(fc.nat(good.length), fc.nat(255), fc.nat(good.length)).map(([at, byte, len]) => {
        const bytes = good.slice(0, len);
        if (at < bytes.length) bytes[at] = byte;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(frames, (frame) => {
        expect(typeof printFrame(frame, 0, frame.length).summary).toBe("string");
      }),
    );
  });
});
