/** ICMP errors from guests (RFC 792, RFC 1122, RFC 1191, RFC 5927): what they may do and what not. */
import { describe, expect, test } from "vitest";
import { proves } from "../../cases/proves.ts";
import { encodeFrame, type Frame, type FrameSpec } from "../../support/frames.ts";
import { FAR_IP, GUEST_IP, PacketScript, type TcpScript } from "../../support/packet-script.ts";

/** The guest's error about a packet of ours: its header and 8 bytes. */
function about(quoted: FrameSpec, icmp: { type?: number; code: number; seq?: number }, bytes = 28): FrameSpec {
  return {
    ip: { dst: FAR_IP },
    icmp: { type: 3, ...icmp },
    payload: encodeFrame(quoted).slice(14, 14 + bytes),
  };
}

function ours(tcp: TcpScript, seq: number): FrameSpec {
  return {
    ip: { src: FAR_IP, dst: GUEST_IP },
    tcp: { srcPort: tcp.dstPort, dstPort: tcp.srcPort, seq: (tcp.peerIsn + seq) >>> 0 },
  };
}

/** A connection with 100 bytes on their way to the guest. */
function established(): { script: PacketScript; tcp: TcpScript } {
  const script = new PacketScript();
  const tcp = script.tcp();
  tcp.establish();
  script.host.dialled[0]!.send(new Uint8Array(100));
  tcp.expect({ seq: 1 });
  return { script, tcp };
}

describe("TCP", () => {
  for (const [name, icmp] of [
    ["port unreachable", { code: 3 }],
    ["protocol unreachable", { code: 2 }],
    ["host unreachable", { code: 1 }],
    ["time exceeded", { type: 11, code: 0 }],
  ] as const) {
    test(`RFC 5927 section 5.2: ${name} does not end an established connection`, () => {
      const { script, tcp } = established();
      script.send(about(ours(tcp, 1), icmp));
      expect(script.stack.flows().length).toBe(1);
      tcp.send({ flags: "ACK", seq: 1, ack: 101 }, "still here");
      expect(script.host.dialled[0]!.text).toBe("still here");
    });
  }

  test(
    proves("bad.ip.forged-icmp", "RFC 5927 section 4.1: a quote of a segment that is not under way does nothing"),
    () => {
      const { script, tcp } = established();
      script.host.dialled[0]!.send(new Uint8Array(2_000));
      const sent = script.takeAll().map((frame: Frame) => frame.payload.length);
      expect(Math.max(...sent)).toBe(1_460);
      for (const seq of [0, 50_000, -5_000]) script.send(about(ours(tcp, seq), { code: 4, seq: 600 }));
      expect(script.dropped("icmp-type")).toBe(3);
      script.expectNothing();
    },
  );

  test("RFC 1191 section 6.4: too big, and what is under way goes again in smaller segments", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.establish();
    script.host.dialled[0]!.send(new Uint8Array(2_920));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1_460, 1_460]);
    script.send(about(ours(tcp, 1), { code: 4, seq: 1_000 }));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([960, 960, 960, 40]);
    tcp.send({ flags: "ACK", seq: 1, ack: 2_921 });
    script.host.dialled[0]!.send(new Uint8Array(2_000));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([960, 960, 80]);
  });

  test("RFC 791 section 3.1: no MTU below 576 is believed", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.establish();
    script.host.dialled[0]!.send(new Uint8Array(1_000));
    script.takeAll();
    script.send(about(ours(tcp, 1), { code: 4, seq: 68 }));
    expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([536, 464]);
  });

  test("RFC 1122 section 4.2.3.9: a forward's dial that is refused ends at once, and its client is reset", async () => {
    const script = new PacketScript({ publish: ["2222:22"] });
    await script.stack.open();
    const client = script.host.dial({ host: "127.0.0.1", port: 2222 }, { host: "198.51.100.7", port: 5_000 });
    script.send({ arp: { op: "request", targetIp: "10.0.2.2" } });
    const syn = script.takeAll().find((frame) => frame.tcp !== undefined)!;
    expect(syn.tcp!.flags).toBe("SYN");
    const quoted = {
      ip: { src: syn.ip!.src, dst: syn.ip!.dst },
      tcp: { srcPort: syn.tcp!.srcPort, dstPort: syn.tcp!.dstPort, seq: syn.tcp!.seq },
    };
    script.send(about(quoted, { code: 3 }));
    expect(client.closed).toBe("ECONNRESET");
    expect(script.stack.flows()).toEqual([]);
  });
});

describe("UDP", () => {
  test("RFC 4787 section 10: port unreachable does not end a mapping", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    const quoted = { ip: { src: FAR_IP, dst: GUEST_IP }, udp: { srcPort: 7, dstPort: 1000 } };
    script.send(about(quoted, { code: 3 }));
    expect(script.stack.gauges().udpFlows).toBe(1);
    expect(script.dropped("icmp-type")).toBe(0);
    far.send("y", far.received[0]!.from);
    script.expect({ udp: { srcPort: 7, dstPort: 1000 }, payload: "y" });
  });

  test("port unreachable ends what is kept of a forward's client", async () => {
    const script = new PacketScript({ publish: ["5000:53/udp"] });
    await script.stack.open();
    script.send({ arp: { op: "request", targetIp: "10.0.2.2" } });
    const client = script.host.udpFar({ host: "198.51.100.7", port: 4_000 });
    client.send("hello", { host: "127.0.0.1", port: 5_000 });
    const [shown] = script.takeAll().filter((frame) => frame.udp !== undefined);
    expect(script.stack.gauges().udpFlows).toBe(1);
    script.send(about({ ip: { src: shown!.ip!.src, dst: GUEST_IP }, udp: { ...shown!.udp! } }, { code: 3 }));
    expect(script.stack.gauges().udpFlows).toBe(0);
  });

  test("too big makes what follows smaller", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    const quoted = { ip: { src: FAR_IP, dst: GUEST_IP }, udp: { srcPort: 7, dstPort: 1000 } };
    script.send(about(quoted, { code: 4, seq: 1_000 }));
    far.send(new Uint8Array(1_400), far.received[0]!.from);
    expect(script.takeAll().map((frame) => frame.ip!.length)).toEqual([996, 452]);
  });
});

describe("what is dropped", () => {
  const quoted = { ip: { src: FAR_IP, dst: GUEST_IP }, udp: { srcPort: 7, dstPort: 1000 } };
  const CASES: readonly (readonly [string, FrameSpec])[] = [
    ["an error about no flow", about(quoted, { code: 3 })],
    ["one about a packet to somebody else", about({ ...quoted, ip: { src: FAR_IP, dst: "10.0.2.16" } }, { code: 3 })],
    ["one about a packet of the guest's own", about({ ...quoted, ip: { src: GUEST_IP, dst: FAR_IP } }, { code: 3 })],
    ["one whose quote is too short", about(quoted, { code: 3 }, 27)],
    ["one without a quote", about(quoted, { code: 3 }, 0)],
    ["one about an ICMP message", about({ ip: { src: FAR_IP, dst: GUEST_IP }, icmp: { type: 0 } }, { code: 3 })],
    [
      "one about a later fragment",
      about({ ip: { src: FAR_IP, dst: GUEST_IP, proto: 17, offset: 8 }, payload: "01234567" }, { code: 3 }),
    ],
    ["a redirect", about(quoted, { type: 5, code: 1 })],
    ["an echo reply that nobody asked for", { ip: { dst: FAR_IP }, icmp: { type: 0 } }],
    ["a timestamp request", { ip: { dst: FAR_IP }, icmp: { type: 13 }, payload: new Uint8Array(12) }],
  ];
  for (const [name, frame] of CASES) {
    test(proves("bad.ip.forged-icmp", name), () => {
      const script = new PacketScript();
      script.send(frame);
      script.expectNothing();
      expect(script.dropped("icmp-type")).toBe(1);
    });
  }
});

test(
  proves("bad.ip.forged-icmp", "an error about a packet to another guest does not touch the flow with the same ports"),
  () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    for (const dst of ["10.0.2.16", FAR_IP]) {
      const quoted = { ip: { src: FAR_IP, dst }, udp: { srcPort: 7, dstPort: 1000 } };
      script.send(about(quoted, { code: 4, seq: 600 }));
    }
    expect(script.dropped("icmp-type")).toBe(2);
    far.send(new Uint8Array(1_400), far.received[0]!.from);
    expect(script.takeAll().map((frame) => frame.ip!.length)).toEqual([1_428]);
  },
);
