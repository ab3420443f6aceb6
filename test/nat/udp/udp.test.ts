/** UDP through the NAT (RFC 4787, RFC 1122 sections 3.2.2 and 4.1.3), as packet scripts. */
import { describe, expect, test } from "vitest";
import { proves } from "../../cases/proves.ts";
import { hostError } from "../../support/fake-host.ts";
import type { FrameSpec } from "../../support/frames.ts";
import { FAR_IP, GATEWAY_MAC, GUEST_IP, PacketScript } from "../../support/packet-script.ts";

const GATEWAY = "10.0.2.2";

function datagram(srcPort: number, dstPort: number, payload: string | Uint8Array = "hello", ip = {}): FrameSpec {
  return { ip: { dst: FAR_IP, ...ip }, udp: { srcPort, dstPort }, payload };
}

describe("a mapping", () => {
  test(proves("udp.one-mapping", "RFC 4787 section 4.1: one port serves many destinations"), () => {
    const script = new PacketScript();
    const fars = Array.from({ length: 5 }, (_, i) => script.host.udpFar({ host: `198.51.100.${i + 1}`, port: 7 }));
    for (const far of fars) script.send(datagram(1000, 7, "hello", { dst: far.at.host }));
    expect(new Set(fars.map((far) => far.received[0]!.from.port)).size).toBe(1);
    for (const far of fars) {
      far.send(`from ${far.at.host}`, far.received[0]!.from);
      script.expect({
        ip: { src: far.at.host, dst: GUEST_IP },
        udp: { srcPort: 7, dstPort: 1000 },
        payload: `from ${far.at.host}`,
      });
    }
  });

  test(proves("udp.third-party", "RFC 4787 section 5: a third party's datagram shows its own source"), () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    const third = script.host.udpFar({ host: "203.0.113.5", port: 4321 });
    script.send(datagram(1000, 7));
    third.send("you do not know me", far.received[0]!.from);
    script.expect({
      ip: { src: "203.0.113.5", dst: GUEST_IP },
      udp: { srcPort: 4321, dstPort: 1000 },
      payload: "you do not know me",
    });
  });

  test("passes on the guest's TTL less one, and DF", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send(datagram(1000, 7, "x", { ttl: 3, df: true }));
    script.send(datagram(1000, 7, "x", { ttl: 255, df: false }));
    expect(far.received).toMatchObject([
      { ttl: 2, df: true },
      { ttl: 254, df: false },
    ]);
  });

  test("beyond the cap the one that has been silent longest makes room", () => {
    const script = new PacketScript({ limits: { udpFlows: 100, udpFlowsPerGuest: 100 } });
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    for (let i = 0; i < 3_000; i++) {
      script.advance(1);
      script.send(datagram(1_000 + i, 7));
      // This one speaks again and again.
      script.send(datagram(999, 7));
    }
    expect(script.stack.gauges().udpFlows).toBe(100);
    expect(script.host.open).toBe(100);
    expect(script.dropped("udp-table-full")).toBe(3_001 - 100);
    const ports = far.received.filter((d) => Buffer.from(d.bytes).toString() === "hello").map((d) => d.from.port);
    expect(ports.filter((port) => port === ports[1]).length).toBe(3_000);
  });

  test("ends after three minutes of silence", () => {
    const script = new PacketScript();
    script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send(datagram(1000, 7));
    script.advance(181_000);
    expect(script.stack.gauges()).toMatchObject({ udpFlows: 0, timers: 0 });
  });
});

describe("what the host says about a datagram", () => {
  test(proves("udp.closed-port", "RFC 1122 section 4.1.3.1: a closed port is 3/3 from the address dialled"), () => {
    const script = new PacketScript();
    script.send(datagram(1000, 7, "hello"));
    const frame = script.expect({ ip: { src: FAR_IP, dst: GUEST_IP }, icmp: { type: 3, code: 3 } });
    const quote = Buffer.from(frame.payload);
    expect(quote.length).toBe(28);
    expect([quote.readUInt16BE(2), quote[9]]).toEqual([33, 17]);
    expect([...quote.subarray(12, 20)].join(".")).toBe(`${GUEST_IP}.${FAR_IP}`);
    expect([quote.readUInt16BE(20), quote.readUInt16BE(22), quote.readUInt16BE(24)]).toEqual([1000, 7, 13]);
  });

  test("a closed port of the host itself is 3/3 from the gateway", () => {
    const script = new PacketScript();
    script.host.answerUdp = () => ({ code: "ECONNREFUSED", from: "127.0.0.1", type: 3, icmpCode: 3, mtu: 0 });
    script.send(datagram(1000, 7, "hello", { dst: GATEWAY }));
    script.expect({ ip: { src: GATEWAY }, icmp: { type: 3, code: 3 } });
  });

  test("a router's time exceeded comes from that router: a traceroute sees the way", () => {
    const script = new PacketScript();
    script.host.answerUdp = () => ({ code: "EHOSTUNREACH", from: "192.0.2.1", type: 11, icmpCode: 0, mtu: 0 });
    script.send(datagram(1000, 33434, "x", { ttl: 2 }));
    script.expect({ ip: { src: "192.0.2.1" }, icmp: { type: 11, code: 0 } });
  });

  test(proves("icmp.too-big", "RFC 1191 section 4: DF and too big is 3/4 with the MTU"), () => {
    const script = new PacketScript();
    script.host.answerUdp = () => hostError("EMSGSIZE", 1400);
    script.send(datagram(1000, 7, new Uint8Array(1472), { df: true }));
    script.expect({ ip: { src: GATEWAY }, icmp: { type: 3, code: 4, id: 0, seq: 1400 } });
  });

  test("an error that is nobody's business passes over", () => {
    const script = new PacketScript();
    script.host.answerUdp = () => hostError("EMFILE");
    script.send(datagram(1000, 7));
    script.expectNothing();
  });

  test(proves("icmp.ttl", "RFC 792: a TTL of 1 is 11/0 from the gateway"), () => {
    const script = new PacketScript();
    script.send(datagram(1000, 33434, "x", { ttl: 1 }));
    script.expect({ ip: { src: GATEWAY }, icmp: { type: 11, code: 0 } });
  });
});

describe("large datagrams", () => {
  function fragments(size: number, mtu = 1500): FrameSpec[] {
    const data = Uint8Array.from({ length: size }, (_, i) => (i * 7) & 255);
    const udp = Buffer.concat([Buffer.from([0x03, 0xe8, 0, 7, 0, 0, 0, 0]), data]);
    udp.writeUInt16BE(udp.length, 4);
    const step = (mtu - 20) & ~7;
    const out: FrameSpec[] = [];
    for (let offset = 0; offset < udp.length; offset += step) {
      const mf = offset + step < udp.length;
      const ip = { dst: FAR_IP, proto: 17, id: 9, df: false, mf, offset };
      out.push({ ip, payload: new Uint8Array(udp.subarray(offset, offset + step)) });
    }
    return out;
  }

  for (const [order, size] of [
    ["in order", 6_000],
    ["reversed", 6_000],
    ["odd ones first", 6_000],
    ["reversed", 65_507],
  ] as const) {
    test(
      proves(["udp.fragments", "bad.ip.fragments-reversed"], `${size} bytes go there ${order} and come back`),
      () => {
        const script = new PacketScript();
        const far = script.host.udpFar({ host: FAR_IP, port: 7 });
        const pieces = fragments(size);
        if (order === "reversed") pieces.reverse();
        if (order === "odd ones first") pieces.sort((a, b) => (b.ip!.offset! % 2960) - (a.ip!.offset! % 2960));
        for (const piece of pieces) script.send(piece);
        expect(far.received.length).toBe(1);
        const { bytes, from, df } = far.received[0]!;
        expect(bytes.length).toBe(size);
        expect(df).toBe(false);
        expect(bytes.every((byte, i) => byte === ((i * 7) & 255))).toBe(true);
        far.send(bytes, from);
        const back = script.takeAll();
        expect(back.every((frame) => frame.ip!.length <= 1500)).toBe(true);
        expect(Buffer.concat(back.map((frame) => frame.payload)).subarray(8)).toEqual(Buffer.from(bytes));
      },
    );
  }
});

describe("datagrams that go nowhere", () => {
  test("those that the host has no room for are counted, and the next ones go", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.host.full = true;
    script.sendBatch(...[1, 2, 3].map(() => datagram(1000, 7)));
    expect(script.dropped("host-full")).toBe(3);
    script.host.full = false;
    script.send(datagram(1000, 7, "room"));
    expect(far.received.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["room"]);
  });

  const cases: readonly (readonly [string, FrameSpec])[] = [
    ["from port 0", datagram(0, 7)],
    ["to port 0", datagram(1000, 0)],
  ];
  for (const [name, frame] of cases) {
    test(proves("bad.udp.port-0", `${name}: no socket, no exception`), () => {
      const script = new PacketScript();
      script.send(frame);
      expect(script.host.open).toBe(0);
      expect(script.dropped("policy")).toBe(1);
    });
  }

  test(proves("bad.udp.port-0", "from 0.0.0.0: silence"), () => {
    const script = new PacketScript();
    script.send(datagram(1000, 7, "x", { src: "0.0.0.0" }));
    expect(script.host.open).toBe(0);
    script.expectNothing();
    expect(script.dropped("ip-source")).toBe(1);
  });

  for (const [what, dst, mac, port] of [
    ["the limited broadcast", "255.255.255.255", "ff:ff:ff:ff:ff:ff", 1234],
    ["the net's broadcast", "10.0.2.255", "ff:ff:ff:ff:ff:ff", 137],
    ["mDNS", "224.0.0.251", "01:00:5e:00:00:fb", 5353],
    ["SSDP", "239.255.255.250", "01:00:5e:7f:ff:fa", 1900],
    ["LLMNR", "224.0.0.252", "01:00:5e:00:00:fc", 5355],
    ["mDNS, put on the gateway's MAC", "224.0.0.251", GATEWAY_MAC, 5353],
    ["SSDP, put on the gateway's MAC with a TTL of 1", "239.255.255.250", GATEWAY_MAC, 1900],
    ["the limited broadcast, put on the gateway's MAC", "255.255.255.255", GATEWAY_MAC, 9],
  ] as const) {
    test(`${what}: not to the host's network, and RFC 1122 section 3.2.2: no error`, () => {
      const script = new PacketScript();
      for (const ttl of [1, 64]) script.send({ eth: { dst: mac }, ...datagram(1000, port, "x", { dst, ttl }) });
      expect(script.host.open).toBe(0);
      script.expectNothing();
    });
  }
});

test(
  proves("bad.ip.fragments-ihl", "an error about fragments with different headers quotes the first one's and 8 bytes"),
  () => {
    const script = new PacketScript();
    const ip = { dst: "127.0.0.1", proto: 17, id: 9, df: false };
    const first = new Uint8Array(64);
    first.set([3, 232, 0, 7, 0, 72]);
    script.send({ ip: { ...ip, offset: 64, mf: false, options: [1, 1, 1, 0] }, payload: new Uint8Array(8) });
    script.send({ ip: { ...ip, offset: 0, mf: true, options: [1, 1, 1, 1, 1, 1, 1, 0] }, payload: first });
    const { payload } = script.expect({ ip: { src: GATEWAY }, icmp: { type: 3, code: 13 } });
    expect([payload.length, payload[0], ...payload.subarray(20, 28)]).toEqual([36, 0x47, 1, 1, 1, 1, 1, 1, 1, 0]);
    expect([...payload.subarray(28)]).toEqual([3, 232, 0, 7, 0, 72, 0, 0]);
  },
);
