/** Echo through the NAT (RFC 792, RFC 1122 section 3.2.2, RFC 5508), as packet scripts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HostIcmpError } from "../../../src/core/host-net.ts";
import { proves } from "../../cases/proves.ts";
import { hostError } from "../../support/fake-host.ts";
import type { FrameSpec } from "../../support/frames.ts";
import { FAR_IP, GUEST_IP, PacketScript } from "../../support/packet-script.ts";

const GATEWAY = "10.0.2.2";
const ECHO = 8;
const REPLY = 0;

function echo(id: number, seq: number, payload: string | Uint8Array = "abcdefgh", ip = {}): FrameSpec {
  return { ip: { dst: FAR_IP, ...ip }, icmp: { type: ECHO, id, seq }, payload };
}

function said(type: number, icmpCode: number, from: string, mtu = 0): HostIcmpError {
  return { code: "EHOSTUNREACH", from, type, icmpCode, mtu };
}

describe("a guest's ping", () => {
  test(proves("icmp.echo", "goes out with its own sequence number, data, TTL less one and DF, and comes back"), () => {
    const script = new PacketScript();
    script.send(echo(0x1234, 7, "abcdefgh", { ttl: 9, df: true }));
    const { pings } = script.host;
    expect(pings).toMatchObject([{ seq: 7, ttl: 8, df: true, to: FAR_IP }]);
    expect(Buffer.from(pings[0]!.bytes).toString()).toBe("abcdefgh");
    script.expect({
      ip: { src: FAR_IP, dst: GUEST_IP },
      icmp: { type: REPLY, code: 0, id: 0x1234, seq: 7 },
      payload: "abcdefgh",
    });
    script.expectNothing();
  });

  test("that the host has no room for is counted", () => {
    const script = new PacketScript();
    script.host.full = true;
    script.send(echo(1, 1));
    script.expectNothing();
    expect(script.dropped("host-full")).toBe(1);
  });

  test("of a silent address stays unanswered for ever", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    script.send(echo(1, 1));
    script.advance(120_000);
    script.expectNothing();
    expect(script.stack.gauges()).toMatchObject({ icmpFlows: 0, timers: 0 });
    expect(script.host.open).toBe(0);
  });

  test("gives several identifiers a channel each, and each its own answers", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    for (const id of [5, 6, 7]) script.send(echo(id, 1, `number ${id}`));
    expect(script.host.open).toBe(3);
    for (const ping of [...script.host.pings].reverse()) ping.answer();
    for (const id of [7, 6, 5]) script.expect({ icmp: { type: REPLY, id, seq: 1 }, payload: `number ${id}` });
  });

  test("of 8 kB in fragments goes out whole, without DF, and comes back in fragments", () => {
    const script = new PacketScript();
    const data = Uint8Array.from({ length: 8_000 }, (_, i) => i & 255);
    const message = Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 9, 0, 1]), data]);
    let sum = 0;
    for (let i = 0; i < message.length; i += 2) sum += message.readUInt16BE(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    message.writeUInt16BE(0xffff - sum, 2);
    for (let offset = 0; offset < message.length; offset += 1480) {
      const payload = message.subarray(offset, offset + 1480);
      const mf = offset + 1480 < message.length;
      script.send({ ip: { dst: FAR_IP, proto: 1, id: 77, df: false, mf, offset }, payload });
    }
    expect(script.host.pings).toMatchObject([{ seq: 1, df: false }]);
    expect(Buffer.from(script.host.pings[0]!.bytes)).toEqual(Buffer.from(data));
    const back = script.takeAll();
    expect(back.map((frame) => frame.ip!.offset)).toEqual([0, 1480, 2960, 4440, 5920, 7400]);
    expect(Buffer.concat(back.map((frame) => frame.payload)).subarray(8)).toEqual(Buffer.from(data));
  });

  test("believes no answer that was not asked for: another address, another number, twice", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    script.send(echo(1, 1));
    const ping = script.host.pings[0]!;
    ping.answer(ping.bytes, "203.0.113.9");
    ping.answer(ping.bytes, FAR_IP, 2);
    script.expectNothing();
    ping.answer();
    ping.answer();
    script.expect({ icmp: { type: REPLY, id: 1, seq: 1 } });
    script.expectNothing();
    expect(script.dropped("icmp-unasked")).toBe(3);
  });

  test("with a wrong checksum is dropped", () => {
    const script = new PacketScript();
    script.send({ ip: { dst: FAR_IP }, icmp: { type: ECHO, checksum: 1 }, payload: "x" });
    expect(script.host.pings).toEqual([]);
    expect(script.dropped("icmp-checksum")).toBe(1);
  });

  for (const dst of ["127.0.0.1", "169.254.169.254", "0.0.0.0", "240.0.0.1", "10.0.2.77"]) {
    test(`of ${dst} is refused`, () => {
      const script = new PacketScript();
      script.send(echo(1, 1, "x", { dst }));
      expect(script.host.pings).toEqual([]);
      script.expect({ ip: { src: GATEWAY }, icmp: { type: 3, code: 13 } });
    });
  }

  for (const dst of ["255.255.255.255", "10.0.2.255", "224.0.0.1"]) {
    test(`RFC 1122 section 3.2.2: of ${dst} is dropped without an error`, () => {
      const script = new PacketScript();
      script.send(echo(1, 1, "x", { dst }));
      script.send(echo(1, 2, "x", { dst, ttl: 1 }));
      expect(script.host.pings).toEqual([]);
      script.expectNothing();
    });
  }

  test("keeps its channel for a minute of silence (RFC 5508 section 3.2)", () => {
    const script = new PacketScript();
    script.send(echo(1, 1));
    script.advance(50_000);
    script.send(echo(1, 2));
    script.advance(59_000);
    expect(script.stack.gauges().icmpFlows).toBe(1);
    script.advance(2_000);
    expect(script.stack.gauges().icmpFlows).toBe(0);
    expect(script.host.open).toBe(0);
  });

  test("has at most 64 identifiers; the oldest makes room", () => {
    const script = new PacketScript();
    for (let id = 0; id < 70; id++) {
      script.advance(1);
      script.send(echo(id, 1));
    }
    expect(script.stack.gauges().icmpFlows).toBe(64);
    expect(script.host.open).toBe(64);
    expect(script.dropped("icmp-table-full")).toBe(6);
    script.takeAll();
    script.send(echo(69, 2));
    script.expect({ icmp: { type: REPLY, id: 69, seq: 2 } });
    expect(script.dropped("icmp-table-full")).toBe(6);
  });

  test("leaves room for other guests, up to what the network allows", () => {
    const script = new PacketScript({ limits: { icmpFlows: 4 } });
    for (let id = 0; id < 6; id++) {
      script.advance(1);
      script.send(echo(id, 1));
    }
    expect(script.stack.gauges().icmpFlows).toBe(4);
    expect(script.host.open).toBe(4);
  });

  test("goes on under a flood of which nothing is answered", () => {
    const script = new PacketScript();
    script.host.answerPing = () => "silence";
    for (let seq = 0; seq < 7_000; seq++) script.send(echo(1, seq & 0xffff, "x"));
    script.host.answerPing = () => "answer";
    script.send(echo(1, 4, "y"));
    script.expect({ icmp: { type: REPLY, id: 1, seq: 4 }, payload: "y" });
  });

  test("is over when the network closes", () => {
    const script = new PacketScript();
    script.send(echo(1, 1));
    script.stack.close();
    expect(script.host.open).toBe(0);
  });
});

describe("what the way says about a ping", () => {
  /** The error's quote: the IP header and the first 8 bytes behind it. */
  function quote(payload: Uint8Array): Record<string, unknown> {
    const q = Buffer.from(payload);
    const addresses = [12, 16].map((at) => [...q.subarray(at, at + 4)].join("."));
    return {
      length: q.length,
      total: q.readUInt16BE(2),
      proto: q[9],
      addresses,
      type: q[20],
      id: q.readUInt16BE(24),
      seq: q.readUInt16BE(26),
    };
  }
  const QUOTE = { length: 28, total: 36, proto: 1, addresses: [GUEST_IP, FAR_IP], type: ECHO, id: 3, seq: 4 };

  const CASES: readonly (readonly [string, HostIcmpError, FrameSpec])[] = [
    [
      "RFC 792: time exceeded, from the router that said so",
      said(11, 0, "192.0.2.1"),
      { ip: { src: "192.0.2.1" }, icmp: { type: 11, code: 0 } },
    ],
    [
      "RFC 792: host unreachable, from a router",
      said(3, 1, "192.0.2.1"),
      { ip: { src: "192.0.2.1" }, icmp: { type: 3, code: 1 } },
    ],
    [
      "RFC 1191 section 4: too big, with the next hop's MTU",
      said(3, 4, "192.0.2.1", 1400),
      { ip: { src: "192.0.2.1" }, icmp: { type: 3, code: 4, id: 0, seq: 1400 } },
    ],
    [
      "unreachable, by the host itself",
      hostError("EHOSTUNREACH"),
      { ip: { src: GATEWAY }, icmp: { type: 3, code: 1 } },
    ],
    ["no route, by the host itself", hostError("ENETUNREACH"), { ip: { src: GATEWAY }, icmp: { type: 3, code: 0 } }],
    [
      "too big, by the host itself",
      hostError("EMSGSIZE", 1280),
      { ip: { src: GATEWAY }, icmp: { type: 3, code: 4, id: 0, seq: 1280 } },
    ],
    ["forbidden, by the host itself", hostError("EPERM"), { ip: { src: GATEWAY }, icmp: { type: 3, code: 13 } }],
    [
      "what the host's own loopback says comes from the gateway",
      said(3, 1, "127.0.0.1"),
      { ip: { src: GATEWAY }, icmp: { type: 3, code: 1 } },
    ],
  ];
  for (const [name, error, frame] of CASES) {
    test(name, () => {
      const script = new PacketScript();
      script.host.answerPing = () => error;
      script.send(echo(3, 4));
      const got = script.expect(frame);
      expect(quote(got.payload)).toEqual(QUOTE);
      script.expectNothing();
    });
  }

  test("is dropped when it is a kind that tells nothing (source quench, redirect)", () => {
    const script = new PacketScript();
    script.host.answerPing = (to) => (to === FAR_IP ? said(4, 0, "192.0.2.1") : said(5, 1, "192.0.2.1"));
    script.send(echo(3, 4));
    script.send(echo(3, 5, "x", { dst: "198.51.100.2" }));
    script.expectNothing();
  });

  test("is dropped when it is about no request under way (forged)", () => {
    const script = new PacketScript();
    script.send(echo(3, 4));
    script.takeAll();
    script.host.pings[0]!.fail(said(3, 1, "192.0.2.1"));
    script.expectNothing();
    expect(script.dropped("icmp-unasked")).toBe(1);
  });

  test("is rate-limited (RFC 1812 section 4.3.2.8)", () => {
    const script = new PacketScript();
    script.host.answerPing = () => said(3, 1, "192.0.2.1");
    for (let seq = 0; seq < 150; seq++) script.send(echo(3, seq));
    expect(script.takeAll().length).toBe(100);
    expect(script.dropped("icmp-rate")).toBe(50);
    script.advance(1_000);
    script.send(echo(3, 200));
    script.expect({ icmp: { type: 3, code: 1 } });
  });

  test(proves("icmp.ttl", "RFC 792: a TTL of 1 ends at the gateway, with 11/0; one of 0, too"), () => {
    const script = new PacketScript();
    for (const ttl of [1, 0]) {
      script.send(echo(3, 4, "abcdefgh", { ttl }));
      const got = script.expect({ ip: { src: GATEWAY }, icmp: { type: 11, code: 0 } });
      expect(quote(got.payload)).toEqual(QUOTE);
    }
    expect(script.host.pings).toEqual([]);
  });

  test("the gateway's own address is no hop away: a TTL of 1 is enough", () => {
    const script = new PacketScript();
    script.send(echo(3, 4, "x", { dst: GATEWAY, ttl: 1 }));
    script.expect({ ip: { src: GATEWAY }, icmp: { type: REPLY, id: 3, seq: 4 } });
  });
});

test(
  proves(
    "icmp.checksums",
    "every kind of ICMP message that we send has a right checksum, whatever the bytes it quotes",
  ),
  () => {
    const script = new PacketScript();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1400 }), fc.nat(65_535), (payload, id) => {
        // The script checks each frame that goes out, lengths and checksums: it fails by itself.
        script.send({ ip: { dst: "10.0.2.2" }, icmp: { type: ECHO, id, seq: id ^ 1 }, payload });
        script.expect({ icmp: { type: REPLY, id } });
        script.send({ ip: { dst: FAR_IP, ttl: 1 }, icmp: { type: ECHO, id, seq: 1 }, payload });
        script.expect({ icmp: { type: 11, code: 0 } });
        script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1 + (id % 60_000), dstPort: 7 }, payload });
        script.expect({ icmp: { type: 3, code: 3 } });
        script.advance(1_000);
      }),
      { seed: 20261125, numRuns: 200 },
    );
  },
);
