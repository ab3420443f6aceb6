import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { parseFrameFilter } from "../../src/control/frame-filter.ts";
import { encodeFrame } from "../support/frames.ts";

const TCP = encodeFrame({
  eth: { src: "52:54:00:12:34:56", dst: "52:55:0a:00:02:02" },
  ip: { src: "10.0.2.15", dst: "198.51.100.1" },
  tcp: { srcPort: 40000, dstPort: 80, seq: 0, ack: 0, flags: "SYN", window: 1000 },
});
const UDP = encodeFrame({
  ip: { src: "10.0.2.16", dst: "10.0.2.3" },
  udp: { srcPort: 5000, dstPort: 53 },
  payload: "x",
});
const ARP = encodeFrame({ arp: { senderIp: "10.0.2.15", targetIp: "10.0.2.2" } });

function matches(text: string): boolean[] {
  const filter = parseFrameFilter("filter", text);
  return [TCP, UDP, ARP].map((frame) => filter(frame, 0, frame.length));
}

describe("a frame filter means what tcpdump's would", () => {
  test.each([
    ["tcp", [true, false, false]],
    ["udp", [false, true, false]],
    ["arp", [false, false, true]],
    ["ip", [true, true, false]],
    ["ip6", [false, false, false]],
    ["port 80", [true, false, false]],
    ["tcp port 53", [false, false, false]],
    ["udp port 53", [false, true, false]],
    ["host 10.0.2.15", [true, false, true]],
    ["net 10.0.2.0/28", [true, true, true]],
    ["net 198.51.100.0/24", [true, false, false]],
    ["ether host 52:54:00:12:34:56 and tcp", [true, false, false]],
    ["not tcp", [false, true, true]],
    ["tcp or udp and port 80", [true, false, false]],
    ["(tcp or udp) and port 53", [false, true, false]],
    ["! ( tcp || udp )", [false, false, true]],
  ])("%s", (text, wanted) => {
    expect(matches(text)).toEqual(wanted);
  });

  test.each([
    "",
    "tcp and",
    "port",
    "port 70000",
    "host x",
    "(tcp",
    "tcp)",
    "net 10.0.0.0/33",
    "foo",
    "ether 1",
    "__proto__",
  ])("%s is told in one line", (text) => {
    expect(() => parseFrameFilter("--capture-filter", text)).toThrow(ConfigError);
  });

  test("nothing that a user types throws anything else, and no frame makes it read beyond its end", () => {
    const words = fc.constantFrom("tcp", "port", "80", "(", ")", "not", "and", "or", "host", "10.0.2.2", "::1", "net");
    fc.assert(
      fc.property(fc.array(words, { maxLength: 12 }), fc.uint8Array({ maxLength: 80 }), (text, frame) => {
        try {
          parseFrameFilter("filter", text.join(" "))(frame, 0, frame.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});
