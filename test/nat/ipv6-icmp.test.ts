/** ICMPv6 through the NAT (RFC 4443): echo to the world, Packet Too Big both ways, guests' own errors, time-outs. */
import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { hostError } from "../support/fake-host.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { FAR_IP6, GATEWAY_IP6, GUEST_IP6, PacketScript } from "../support/packet-script.ts";

const TOO_BIG = 2;

/** A guest's error about a packet of ours. */
function about(quoted: FrameSpec, icmp6: FrameSpec["icmp6"]): FrameSpec {
  return { ip6: { dst: GATEWAY_IP6 }, icmp6: icmp6!, payload: encodeFrame(quoted).slice(14) };
}

describe("echo beyond the gateway", () => {
  test(proves("icmp.echo", "goes out with its sequence number, data and hop limit less one, and comes back"), () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6, hopLimit: 9 }, icmp6: { id: 0x1234, seq: 7 }, payload: "abcdefgh" });
    expect(script.host.pings).toMatchObject([{ seq: 7, ttl: 8, to: FAR_IP6 }]);
    script.expect({
      ip6: { src: FAR_IP6, dst: GUEST_IP6 },
      icmp6: { type: 129, code: 0, id: 0x1234, seq: 7 },
      payload: "abcdefgh",
    });
    script.expectNothing();
  });

  test("of a silent address stays unanswered", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    script.send({ ip6: { dst: FAR_IP6 }, icmp6: { id: 1, seq: 1 } });
    script.advance(120_000);
    script.expectNothing();
  });

  test("where guests may not go is prohibited", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: "fe80::1" }, icmp6: { id: 1, seq: 1 } });
    script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 1, code: 1 } });
    expect(script.host.pings).toEqual([]);
  });

  test("a router's time exceeded comes from that router, about the request", () => {
    const script = new PacketScript();
    script.host.answerPing = () => ({ code: "EHOSTUNREACH", from: "2001:db8:1::1", type: 3, icmpCode: 0, mtu: 0 });
    script.send({ ip6: { dst: FAR_IP6, hopLimit: 2 }, icmp6: { id: 5, seq: 6 } });
    const error = script.expect({ ip6: { src: "2001:db8:1::1" }, icmp6: { type: 3, code: 0 } });
    expect([...error.payload.slice(44, 48)]).toEqual([0, 5, 0, 6]);
  });
});

describe("Packet Too Big (RFC 4443 section 3.2)", () => {
  test(proves("ipv6.too-big", "a datagram too big for the host's way is told its MTU"), () => {
    const script = new PacketScript();
    script.host.answerUdp = () => hostError("EMSGSIZE", 1400);
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 1000, dstPort: 7 }, payload: new Uint8Array(1452) });
    script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: TOO_BIG, code: 0, word: 1400 } });
  });

  test(proves("ipv6.too-big", "a guest's makes the segments that follow smaller, those under way included"), () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.establish({ mss: 1440 });
    script.host.dialled[0]!.send(new Uint8Array(2880));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1440, 1440]);
    const quoted = {
      ip6: { src: FAR_IP6, dst: GUEST_IP6 },
      tcp: { srcPort: 80, dstPort: 1000, seq: tcp.peerIsn + 1 },
    };
    script.send(about(quoted, { type: TOO_BIG, word: 1300 }));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1240, 1240, 400]);
  });

  test(proves("ipv6.too-big", "and the datagrams, which come in fragments of 1280 bytes at the least"), () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    const quoted = { ip6: { src: FAR_IP6, dst: GUEST_IP6 }, udp: { srcPort: 7, dstPort: 1000 } };
    script.send(about(quoted, { type: TOO_BIG, word: 600 }));
    far.send(new Uint8Array(1400), far.received[0]!.from);
    const sizes = script.takeAll().map((frame) => [frame.ip6!.fragment!.offset, frame.ip6!.length + 40]);
    expect(sizes).toEqual([
      [0, 1280],
      [1232, 1400 + 8 - 1232 + 48],
    ]);
  });

  test(proves("bad.ip.forged-icmp", "one about a segment that is not under way does nothing"), () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.establish({ mss: 1440 });
    const quoted = { ip6: { src: FAR_IP6, dst: GUEST_IP6 }, tcp: { srcPort: 80, dstPort: 1000, seq: 77 } };
    script.send(about(quoted, { type: TOO_BIG, word: 1280 }));
    script.host.dialled[0]!.send(new Uint8Array(1440));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1440]);
    expect(script.dropped("icmp-type")).toBe(1);
  });
});

describe("a datagram that stays incomplete for 60 s", () => {
  const fragment = (offset: number, mf: boolean, size: number): FrameSpec => ({
    ip6: { dst: FAR_IP6, proto: 17, fragment: { offset, mf, id: 1 } },
    payload: new Uint8Array(size),
  });

  test("is told with its first fragment (RFC 8200 section 4.5)", () => {
    const script = new PacketScript();
    script.send(fragment(0, true, 1448));
    script.advance(59_999);
    script.expectNothing();
    script.advance(1);
    const error = script.expect({ ip6: { src: GATEWAY_IP6, dst: GUEST_IP6 }, icmp6: { type: 3, code: 1 } });
    expect(error.payload.length).toBe(1232);
    // The header as it came: a fragment's.
    expect(error.payload[6]).toBe(44);
    expect(script.dropped("ip-fragment")).toBe(1);
  });

  test("and not without: nobody knows what it was", () => {
    const script = new PacketScript();
    script.send(fragment(1448, false, 100));
    script.advance(61_000);
    script.expectNothing();
  });

  test("in IPv4 too: 11/1 with the first eight bytes (RFC 792, RFC 1122 section 3.3.2)", () => {
    const script = new PacketScript();
    script.send({ ip: { proto: 17, mf: true, df: false, id: 9 }, payload: new Uint8Array(1480) });
    script.advance(60_000);
    const error = script.expect({ ip: { src: "10.0.2.2" }, icmp: { type: 11, code: 1 } });
    expect(error.payload.length).toBe(28);
    script.send({ ip: { proto: 17, offset: 1480, df: false, id: 10 }, payload: new Uint8Array(100) });
    script.advance(61_000);
    script.expectNothing();
  });
});
