/** Echo and errors in IPv6 (RFC 4443, RFC 8201), through the same code as IPv4's: what differs. */
import { describe, expect, test } from "vitest";
import type { HostIcmpError } from "../../../src/core/host-net.ts";
import { proves } from "../../cases/proves.ts";
import { hostError } from "../../support/fake-host.ts";
import { encodeFrame, type FrameSpec } from "../../support/frames.ts";
import { FAR_IP6, GATEWAY_IP6, GUEST_IP6, PacketScript } from "../../support/packet-script.ts";

const ECHO = 128;
const REPLY = 129;
const ROUTER = "2001:db8:ffff::1";

function echo(id: number, seq: number, payload: string | Uint8Array = "abcdefgh", ip6 = {}): FrameSpec {
  return { ip6: { dst: FAR_IP6, ...ip6 }, icmp6: { type: ECHO, id, seq }, payload };
}

function said(type: number, icmpCode: number, from: string, mtu = 0): HostIcmpError {
  return { code: "EHOSTUNREACH", from, type, icmpCode, mtu };
}

describe("a guest's ping", () => {
  test(
    proves("icmp.echo", "RFC 4443 section 4: goes out with its number, data and hop limit less one, and comes back"),
    () => {
      const script = new PacketScript();
      script.send(echo(0x1234, 7, "abcdefgh", { hopLimit: 9 }));
      expect(script.host.pings).toMatchObject([{ seq: 7, ttl: 8, df: true, to: FAR_IP6 }]);
      script.expect({
        ip6: { src: FAR_IP6, dst: GUEST_IP6 },
        icmp6: { type: REPLY, code: 0, id: 0x1234, seq: 7 },
        payload: "abcdefgh",
      });
      script.expectNothing();
    },
  );

  test("uses an identifier in both families at once, a channel each", () => {
    const script = new PacketScript();
    script.send(echo(1, 1));
    script.send({ ip: { dst: "198.51.100.1" }, icmp: { type: 8, id: 1, seq: 1 }, payload: "x" });
    expect(script.stack.gauges().icmpFlows).toBe(2);
    expect(script.takeAll().length).toBe(2);
  });

  test("believes no answer from another address", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    script.send(echo(1, 1));
    script.host.pings[0]!.answer(script.host.pings[0]!.bytes, "2001:db8::2");
    script.expectNothing();
    expect(script.dropped("icmp-unasked")).toBe(1);
  });

  test("believes the same address in another spelling", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    script.send(echo(1, 1));
    script.host.pings[0]!.answer(script.host.pings[0]!.bytes, "2001:0DB8:0:0:0:0:0:1");
    script.expect({ ip6: { src: FAR_IP6 }, icmp6: { type: REPLY, id: 1, seq: 1 } });
  });

  for (const dst of ["::1", "::ffff:127.0.0.1", "fe80::9", "fec0::77", "64:ff9b::7f00:1"]) {
    test(`of ${dst} is refused`, () => {
      const script = new PacketScript();
      script.send(echo(1, 1, "x", { dst }));
      expect(script.host.pings).toEqual([]);
      expect(script.takeAll().filter((frame) => frame.icmp6?.type === REPLY)).toEqual([]);
    });
  }
});

describe("what the way says about a ping", () => {
  const CASES: readonly (readonly [string, HostIcmpError, FrameSpec])[] = [
    [
      "RFC 4443 section 3.3: hop limit exceeded",
      said(3, 0, ROUTER),
      { ip6: { src: ROUTER }, icmp6: { type: 3, code: 0 } },
    ],
    ["RFC 4443 section 3.1: no route", said(1, 0, ROUTER), { ip6: { src: ROUTER }, icmp6: { type: 1, code: 0 } }],
    [
      "RFC 4443 section 3.2: too big, with the MTU",
      said(2, 0, ROUTER, 1400),
      { ip6: { src: ROUTER }, icmp6: { type: 2, code: 0, word: 1400 } },
    ],
    [
      "too big, by the host itself",
      hostError("EMSGSIZE", 1280),
      { ip6: { src: GATEWAY_IP6 }, icmp6: { type: 2, code: 0, word: 1280 } },
    ],
    [
      "no route, by the host itself",
      hostError("ENETUNREACH"),
      { ip6: { src: GATEWAY_IP6 }, icmp6: { type: 1, code: 0 } },
    ],
    ["a host without IPv6", hostError("EAFNOSUPPORT"), { ip6: { src: GATEWAY_IP6 }, icmp6: { type: 1, code: 0 } }],
  ];
  for (const [name, error, frame] of CASES) {
    test(name, () => {
      const script = new PacketScript();
      script.host.answerPing = () => error;
      script.send(echo(3, 4));
      const { payload } = script.expect(frame);
      const quote = Buffer.from(payload);
      expect([quote.length, quote.readUInt16BE(4), quote[6], quote[40]]).toEqual([48, 16, 58, ECHO]);
      expect([quote.readUInt16BE(44), quote.readUInt16BE(46)]).toEqual([3, 4]);
    });
  }

  test(proves("icmp.ttl", "RFC 4443 section 3.3: a hop limit of 1 ends at the gateway, with 3/0"), () => {
    const script = new PacketScript();
    script.send(echo(3, 4, "x", { hopLimit: 1 }));
    script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 3, code: 0 } });
    expect(script.host.pings).toEqual([]);
  });
});

describe("UDP", () => {
  const send = (script: PacketScript, payload: Uint8Array, ip6 = {}): void =>
    script.send({ ip6: { dst: FAR_IP6, ...ip6 }, udp: { srcPort: 1000, dstPort: 7 }, payload });

  test(proves("udp.closed-port", "RFC 4443 section 3.1: a closed port is 1/4 from the address dialled"), () => {
    const script = new PacketScript();
    send(script, new Uint8Array(5));
    const { payload } = script.expect({ ip6: { src: FAR_IP6, dst: GUEST_IP6 }, icmp6: { type: 1, code: 4 } });
    const quote = Buffer.from(payload);
    expect([quote.readUInt16BE(40), quote.readUInt16BE(42), quote.readUInt16BE(44)]).toEqual([1000, 7, 13]);
  });

  test("hop limit less one, and never cut on the way", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
    send(script, new Uint8Array(5), { hopLimit: 3 });
    expect(far.received).toMatchObject([{ ttl: 2, df: true }]);
  });

  for (const [what, dst, mac] of [
    ["mDNS", "ff02::fb", "33:33:00:00:00:fb"],
    ["SSDP", "ff02::c", "33:33:00:00:00:0c"],
    ["site-wide SSDP", "ff05::c", "33:33:00:00:00:0c"],
  ] as const) {
    test(`${what}: not to the host's network, and no error`, () => {
      const script = new PacketScript();
      for (const hopLimit of [1, 255]) {
        script.send({
          eth: { dst: mac },
          ip6: { dst, hopLimit },
          udp: { srcPort: 5353, dstPort: 5353 },
          payload: "x",
        });
      }
      expect(script.host.open).toBe(0);
      script.expectNothing();
    });
  }
});

describe("a guest's error", () => {
  test("RFC 8201 section 4: Packet Too Big makes a connection's segments smaller, not below 1280", () => {
    const script = new PacketScript();
    script.send({
      ip6: { dst: FAR_IP6 },
      tcp: { srcPort: 1000, dstPort: 80, seq: 1, flags: "SYN", options: { mss: 1440 } },
    });
    const syn = script.expect({ tcp: { flags: "SYN ACK" } });
    script.send({
      ip6: { dst: FAR_IP6 },
      tcp: { srcPort: 1000, dstPort: 80, seq: 2, ack: (syn.tcp!.seq + 1) >>> 0, flags: "ACK" },
    });
    script.host.dialled[0]!.send(new Uint8Array(1_440));
    const [segment] = script.takeAll();
    expect(segment!.payload.length).toBe(1_440);
    const quoted = encodeFrame({
      ip6: { src: FAR_IP6, dst: GUEST_IP6 },
      tcp: { srcPort: 80, dstPort: 1000, seq: segment!.tcp!.seq },
    }).slice(14, 14 + 60);
    script.send({ ip6: { dst: FAR_IP6 }, icmp6: { type: 2, word: 1_000 }, payload: quoted });
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1_220, 220]);
  });

  test(proves("bad.ip.forged-icmp", "about no flow, or cut short, is dropped"), () => {
    const script = new PacketScript();
    const quoted = encodeFrame({
      ip6: { src: FAR_IP6, dst: GUEST_IP6 },
      udp: { srcPort: 7, dstPort: 1000 },
    }).slice(14);
    for (const payload of [quoted, quoted.slice(0, 47), new Uint8Array(0)]) {
      script.send({ ip6: { dst: FAR_IP6 }, icmp6: { type: 1, code: 4 }, payload });
    }
    script.expectNothing();
    expect(script.dropped("icmp-type")).toBe(3);
  });
});
