/** The harness, shown on a few rules that everything else builds on. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { decodeFrame, encodeFrame } from "./frames.ts";
import {
  DNS_IP6,
  FAR_IP,
  GATEWAY_IP6,
  GATEWAY_MAC,
  GATEWAY_MAC6,
  GUEST_IP,
  GUEST_LINK_LOCAL,
  GUEST_MAC,
  PacketScript,
} from "./packet-script.ts";

describe("what the harness promises", () => {
  test("a frame reads back as it was written", () => {
    const options = { mss: 1460, windowScale: 7, sackPermitted: true, timestamps: [1, 2] as [number, number] };
    const tcp = { srcPort: 1, dstPort: 2, seq: 0xffff_ffff, ack: 3, flags: "SYN ACK", window: 4, options };
    const frame = decodeFrame(encodeFrame({ ip: { src: GUEST_IP, dst: FAR_IP }, tcp, payload: "odd" }));
    expect(frame).toMatchObject({ tcp, problems: [] });
    expect(Buffer.from(frame.payload).toString()).toBe("odd");
  });

  test("any one flipped bit behind the Ethernet header shows as a problem", () => {
    const good = encodeFrame({ udp: { srcPort: 5, dstPort: 6 }, payload: "some bytes" });
    fc.assert(
      fc.property(fc.integer({ min: 14 * 8, max: good.length * 8 - 1 }), (bit) => {
        const bad = good.slice();
        bad[bit >> 3]! ^= 1 << (bit & 7);
        expect(decodeFrame(bad).problems).not.toEqual([]);
      }),
    );
  });

  test("so it is with IPv6 behind the flow label, which nothing covers", () => {
    const good = encodeFrame({
      ip6: { extensions: [{ header: 60, body: [] }] },
      udp: { dstPort: 6 },
      payload: "bytes",
    });
    expect(decodeFrame(good)).toMatchObject({ ip6: { proto: 17, length: 21 }, problems: [] });
    const ends = [14, 20, ...Array.from({ length: good.length - 22 }, (_, i) => 22 + i)];
    // An extension header's options mean nothing to a checksum either.
    const covered = fc.constantFrom(...ends.filter((byte) => byte < 54 || byte >= 62));
    fc.assert(
      fc.property(covered, fc.nat(7), (byte, bit) => {
        // 60 with this bit flipped is 44: the empty options then read as the header of a fragment that is the whole.
        fc.pre(byte !== 20 || bit !== 4);
        const bad = good.slice();
        bad[byte]! ^= byte === 14 ? 0x10 << (bit & 3) : 1 << bit;
        expect(decodeFrame(bad)).not.toMatchObject({ ip6: { proto: 17 }, udp: { dstPort: 6 }, problems: [] });
      }),
    );
  });

  test("IPv6 headers, ICMPv6 and neighbour discovery read back as they were written", () => {
    const extensions = [{ header: 0, body: [5, 2, 0, 0, 0, 0] }];
    const ip6 = { src: GUEST_LINK_LOCAL, dst: "ff02::1:ff00:2", extensions };
    const options = { sourceMac: GUEST_MAC };
    const ndp = { kind: "ns", target: GATEWAY_IP6, options } as const;
    const solicit = decodeFrame(encodeFrame({ ip6, ndp }));
    expect(solicit).toMatchObject({ ip6: { ...ip6, proto: 58, hopLimit: 255 }, ndp, problems: [] });
    const prefix = { prefix: "fec0::", bits: 64, onLink: true, autonomous: true, valid: 86_400, preferred: 14_400 };
    const advert = {
      kind: "ra",
      ...{ hopLimit: 64, managed: false, other: true, lifetime: 1800 },
      options: {
        ...{ sourceMac: GATEWAY_MAC6, prefix, mtu: 1500 },
        rdnss: { servers: [DNS_IP6], lifetime: 600 },
        dnssl: { names: ["lab.test", "test"], lifetime: 600 },
      },
    } as const;
    expect(decodeFrame(encodeFrame({ ndp: advert }))).toMatchObject({ ndp: advert, problems: [] });
    const echo = {
      ip6: { fragment: { offset: 0, mf: true, id: 7 } },
      icmp6: { type: 128, id: 1, seq: 2 },
      payload: "12345678",
    };
    expect(decodeFrame(encodeFrame(echo))).toMatchObject({ ip6: { proto: 58, ...echo.ip6 }, problems: [] });
    expect(decodeFrame(encodeFrame({ ndp, ip6: { hopLimit: 64 } })).problems).not.toEqual([]);
    expect(decodeFrame(encodeFrame({ ndp, icmp6: { checksum: 1 } })).problems).toEqual(["ICMPv6 checksum"]);
  });

  test("what is expected and does not come, or comes otherwise, fails", () => {
    const script = new PacketScript();
    expect(() => script.expect({})).toThrow("no frame came");
    script.send({ arp: { targetIp: "10.0.2.2" } });
    expect(() => script.expect({ arp: { op: "request" } })).toThrow();
    script.send({ arp: { targetIp: "10.0.2.2" } });
    expect(() => script.expectNothing()).toThrow();
  });
});

describe("the stack", () => {
  test("RFC 826: the gateway's address is told, the guest's own is not", () => {
    const script = new PacketScript();
    script.send({ arp: { targetIp: "10.0.2.2" } });
    script.expect({
      eth: { dst: GUEST_MAC, src: GATEWAY_MAC },
      arp: { op: "reply", senderMac: GATEWAY_MAC, targetIp: GUEST_IP },
    });
    script.send({ arp: { senderIp: GUEST_IP, targetIp: GUEST_IP } });
    script.expectNothing();
  });

  test("RFC 792: an echo of the gateway carries the same identifier, number and data", () => {
    const script = new PacketScript();
    script.send({ ip: { dst: "10.0.2.2" }, icmp: { type: 8, id: 7, seq: 9 }, payload: "abc" });
    script.expect({ ip: { src: "10.0.2.2", dst: GUEST_IP }, icmp: { type: 0, id: 7, seq: 9 }, payload: "abc" });
  });

  test(
    proves(
      "tcp.handshake.only-offered-options",
      "the SYN-ACK waits for the host, and carries only options that the guest offered",
    ),
    () => {
      const script = new PacketScript();
      const tcp = script.tcp({ dstPort: 80 });
      tcp.send({ flags: "SYN", seq: 0, options: { mss: 1000 } });
      const { options } = tcp.expect({ flags: "SYN ACK", ack: 1 }).tcp!;
      expect(Object.keys(options)).toEqual(["mss"]);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
      script.advance(500);
      tcp.expect({ flags: "ACK", seq: 1, ack: 6 });
      const far = script.host.dialled[0]!;
      expect(far.text).toBe("hello");
      far.send("x".repeat(1500));
      tcp.expect({ flags: "ACK", seq: 1, ack: 6 }, "x".repeat(1000));
      tcp.expect({ flags: "ACK", seq: 1001, ack: 6 }, "x".repeat(500));
      script.expectNothing();
    },
  );

  test("a refused dial is a reset with ack ISN + 1", () => {
    const script = new PacketScript();
    script.host.answer = () => ({ refuse: "ECONNREFUSED" });
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0 });
    tcp.expect({ flags: "RST ACK", ack: 1 });
    script.expectNothing();
  });

  test("RFC 6298 section 5.5: the pause before each retransmission doubles", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.establish();
    script.host.dialled[0]!.send("data");
    tcp.expect({ seq: 1 }, "data");
    const pauses = [0, 1, 2, 3].map(() => {
      const pause = script.advanceUntilFrame();
      tcp.expect({ seq: 1 }, "data");
      return pause;
    });
    for (let i = 1; i < pauses.length; i++) expect(pauses[i]! / pauses[i - 1]!).toBeCloseTo(2, 1);
  });

  test("RFC 5961 section 3.2: a reset within the window but not at its edge is challenged, an exact one resets", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.establish();
    tcp.send({ flags: "RST", seq: 5 });
    tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
    tcp.send({ flags: "RST", seq: 1 });
    script.expectNothing();
    expect(script.host.dialled[0]!.closed).toBe("ECONNRESET");
  });

  test("RFC 2018: bytes behind a hole are reported at once, counted from the guest's SYN", () => {
    const script = new PacketScript();
    const tcp = script.tcp({ timestamps: true });
    tcp.establish({ mss: 1460, sackPermitted: true, timestamps: [1, 0] });
    tcp.send({ flags: "ACK", seq: 11, ack: 1 }, "behind");
    tcp.expect({ flags: "ACK", ack: 1, options: { sack: [[11, 17]] } });
  });
});
