/** IPv6 through the stack: who may speak, echo, TCP and UDP through the NAT, DNS, errors (RFC 4443, RFC 8200). */
import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import {
  DNS_IP6,
  FAR_IP6,
  GATEWAY_IP6,
  GATEWAY_LINK_LOCAL,
  GATEWAY_MAC6,
  GUEST_IP6,
  GUEST_LINK_LOCAL,
  GUEST_MAC,
  PacketScript,
} from "../support/packet-script.ts";

const bytes = (n: number, seed = 1): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * seed * 7) & 255);
/** 40 bytes of header, and at most 1232 of the rest (RFC 4443 section 2.4 c). */
const MOST_QUOTED = 1232;

describe("TCP", () => {
  test("a connection to the far host is dialled there and carries bytes both ways", () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.establish({ mss: 1440 });
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
    tcp.expect({ flags: "ACK", ack: 6 });
    const [far] = script.host.dialled;
    expect(far!.at).toEqual({ host: FAR_IP6, port: 80 });
    expect(far!.text).toBe("hello");
    far!.send("world");
    const frame = tcp.expect({ flags: "ACK", seq: 1, ack: 6 }, "world");
    expect(frame.eth).toMatchObject({ src: GATEWAY_MAC6, dst: GUEST_MAC });
    expect(frame.ip6!.hopLimit).toBe(64);
    expect(script.events).toContainEqual(
      expect.objectContaining({ type: "flow-open", guest: `[${GUEST_IP6}]:1000`, remote: `[${FAR_IP6}]:80` }),
    );
  });

  test("our MSS leaves room for the longer header (RFC 8200 section 8.3)", () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.send({ flags: "SYN", seq: 0, options: { mss: 1440 } });
    tcp.expect({ flags: "SYN ACK", options: { mss: 1440 } });
  });

  test("segments fill 1500 bytes and no more", () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.establish({ mss: 1440 });
    script.host.dialled[0]!.send(bytes(4000));
    const sizes = script.takeAll().map((frame) => frame.ip6!.length);
    expect(sizes.slice(0, 2)).toEqual([1460, 1460]);
  });

  test.each([GATEWAY_IP6, GATEWAY_LINK_LOCAL])("%s is the host's ::1", (dst) => {
    const script = new PacketScript();
    const src = dst === GATEWAY_LINK_LOCAL ? GUEST_LINK_LOCAL : GUEST_IP6;
    script.tcp({ dst, src, dstPort: 22 }).establish();
    expect(script.host.dialled[0]!.at).toEqual({ host: "::1", port: 22 });
  });

  test("the same ports to two far hosts, and from two addresses of the guest, are different connections", () => {
    const script = new PacketScript();
    const ends = [
      { dst: FAR_IP6 },
      { dst: "2001:db8::2" },
      { dst: FAR_IP6, src: "fec0::77" },
      { dst: "2001:db8:1::1" },
    ].map((each) => script.tcp(each));
    for (const tcp of ends) tcp.establish();
    for (const [i, tcp] of ends.entries()) {
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, `to ${i}`);
      tcp.expect({ flags: "ACK" });
    }
    expect(script.host.dialled.map((far) => far.text)).toEqual(["to 0", "to 1", "to 2", "to 3"]);
  });

  test("a refused host is a RST", () => {
    const script = new PacketScript();
    script.host.answer = () => ({ refuse: "ECONNREFUSED" });
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.send({ flags: "SYN", seq: 0 });
    tcp.expect({ flags: "RST ACK", ack: 1 });
    script.expectNothing();
  });

  test("with a host that has no IPv6 a guest learns at once: unreachable and RST, so that it tries IPv4", () => {
    const script = new PacketScript();
    script.host.answer = () => ({ refuse: "ENETUNREACH" });
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.send({ flags: "SYN", seq: 0 });
    const error = script.expect({ ip6: { src: GATEWAY_IP6, dst: GUEST_IP6 }, icmp6: { type: 1, code: 0 } });
    // The quote: the packet's header, its ports and sequence number.
    expect(error.payload.length).toBe(48);
    expect([...error.payload.slice(40, 48)]).toEqual([1000 >> 8, 1000 & 255, 0, 80, 0, 0, 10_000 >> 8, 10_000 & 255]);
    tcp.expect({ flags: "RST ACK", ack: 1 });
    expect(script.clock.now()).toBe(1_000);
  });

  test("a segment without a connection is answered with RST", () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.send({ flags: "ACK", seq: 5, ack: 0 });
    script.expect({ ip6: { src: FAR_IP6, dst: GUEST_IP6 }, tcp: { flags: "RST", srcPort: 80, dstPort: 1000 } });
  });

  test("a wrong checksum drops the segment", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6 }, tcp: { flags: "SYN", checksum: 1 } });
    script.expectNothing();
    expect(script.dropped("tcp-checksum")).toBe(1);
  });

  test.each(["::1", "::", "::ffff:127.0.0.1", "fec0::99", "64:ff9b::7f00:1"])(
    "a guest that dials %s is refused and nobody is dialled",
    (dst) => {
      const script = new PacketScript();
      script.send({ ip6: { dst }, tcp: { flags: "SYN" } });
      script.expect({ tcp: { flags: "RST ACK" } });
      expect(script.host.dialled).toEqual([]);
      expect(script.dropped("policy")).toBe(1);
    },
  );
});

describe("UDP", () => {
  test("a datagram goes out, the answer and a third party's word come back with their true sources", () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
    const third = script.host.udpFar({ host: "2001:db8::99", port: 5000 });
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 4000, dstPort: 7 }, payload: "ask" });
    expect(Buffer.from(far.received[0]!.bytes).toString()).toBe("ask");
    far.send("answer", far.received[0]!.from);
    third.send("me too", far.received[0]!.from);
    const frame = script.expect({
      ip6: { src: FAR_IP6, dst: GUEST_IP6 },
      udp: { srcPort: 7, dstPort: 4000 },
      payload: "answer",
    });
    expect(frame.eth.src).toBe(GATEWAY_MAC6);
    script.expect({ ip6: { src: "2001:db8::99" }, udp: { srcPort: 5000, dstPort: 4000 }, payload: "me too" });
  });

  test("one port of the guest's speaks with many by one host socket", () => {
    const script = new PacketScript();
    const fars = [1, 2, 3].map((n) => script.host.udpFar({ host: `2001:db8::${n}`, port: 7 }));
    for (let round = 0; round < 2; round++)
      for (const far of fars) script.send({ ip6: { dst: far.at.host }, udp: { srcPort: 4000, dstPort: 7 } });
    const ports = fars.flatMap((far) => far.received.map(({ from }) => from.port));
    expect(ports.length).toBe(6);
    expect(new Set(ports).size).toBe(1);
  });

  test("IPv4 and IPv6 ports of the same number are different mappings", () => {
    const script = new PacketScript();
    const far6 = script.host.udpFar({ host: FAR_IP6, port: 7 });
    const far4 = script.host.udpFar({ host: "198.51.100.1", port: 7 });
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 4000, dstPort: 7 }, payload: "six" });
    script.send({ ip: {}, udp: { srcPort: 4000, dstPort: 7 }, payload: "four" });
    expect(far6.received[0]!.from.port).not.toBe(far4.received[0]!.from.port);
  });

  test(proves("ipv6.checksum-0", "RFC 8200 section 8.1: a datagram without a checksum is dropped"), () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
    script.send({ ip6: { dst: FAR_IP6 }, udp: { dstPort: 7, checksum: 0 }, payload: "x" });
    script.expectNothing();
    expect(far.received).toEqual([]);
    expect(script.dropped("udp-malformed")).toBe(1);
  });

  test.each([0, 7, 20])(
    proves("bad.udp.length", "a length of %i in a datagram of 9 bytes drops it (CVE-2021-3593)"),
    (length) => {
      const script = new PacketScript();
      const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
      script.send({ ip6: { dst: FAR_IP6 }, udp: { dstPort: 7, length }, payload: "x" });
      script.expectNothing();
      expect(far.received).toEqual([]);
      expect(script.dropped("udp-malformed")).toBe(1);
    },
  );

  test(proves("bad.ip.v6-retained", "padding behind the packet is never data"), () => {
    const script = new PacketScript();
    const far = script.host.udpFar({ host: FAR_IP6, port: 7 });
    script.send({ ip6: { dst: FAR_IP6 }, udp: { dstPort: 7 }, payload: "x", padding: 9 });
    expect(far.received.map(({ bytes: b }) => b.length)).toEqual([1]);
  });

  test("a closed port is port unreachable from the address dialled", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 4000, dstPort: 9 }, payload: "anyone?" });
    const error = script.expect({ ip6: { src: FAR_IP6, dst: GUEST_IP6 }, icmp6: { type: 1, code: 4 } });
    expect([...error.payload.slice(40, 44)]).toEqual([4000 >> 8, 4000 & 255, 0, 9]);
  });

  test("no route is said at once", () => {
    const script = new PacketScript();
    script.host.answerUdp = () => "ENETUNREACH";
    script.send({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 4000, dstPort: 9 } });
    script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 1, code: 0 } });
  });

  test("where guests may not go is prohibited (RFC 4443 section 3.1), quoted whole up to 1280 bytes in all", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: "::ffff:127.0.0.1" }, udp: { dstPort: 53 }, payload: bytes(1400) });
    const error = script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 1, code: 1 } });
    expect(error.payload.length).toBe(MOST_QUOTED);
    expect(error.ip6!.length + 40).toBe(1280);
    script.send({ ip6: { dst: "fe80::99" }, udp: { dstPort: 53 }, payload: "short" });
    expect(script.expect({ icmp6: { type: 1, code: 1 } }).payload.length).toBe(40 + 8 + 5);
  });

  test("mDNS, LLMNR and SSDP stay on the cable, and no error is about a packet to a group", () => {
    const script = new PacketScript();
    for (const [dst, dstPort] of [
      ["ff02::fb", 5353],
      ["ff02::1:3", 5355],
      ["ff02::c", 1900],
      ["ff0e::1", 9],
    ] as const)
      script.send({ ip6: { src: GUEST_LINK_LOCAL, dst }, udp: { dstPort }, payload: "anyone?" });
    script.expectNothing();
    expect(script.dropped("policy")).toBe(4);
    expect(script.host.open).toBe(0);
  });
});

describe("DNS", () => {
  const query = Uint8Array.from([
    ...[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ...[1, 97, 4, 116, 101, 115, 116, 0, 0, 28, 0, 1],
  ]);
  const answer = query.slice();
  answer[2]! |= 0x80;

  test("the virtual server answers over UDP", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: DNS_IP6 }, udp: { srcPort: 4000, dstPort: 53 }, payload: query });
    script.queries[0]!.answer(answer);
    script.expect({ ip6: { src: DNS_IP6, dst: GUEST_IP6 }, udp: { srcPort: 53, dstPort: 4000 }, payload: answer });
  });

  test("and over TCP", async () => {
    const script = new PacketScript();
    const tcp = script.tcp({ dst: DNS_IP6, dstPort: 53 });
    tcp.send({ flags: "SYN", seq: 0, options: { mss: 1440 } });
    // The service within the process answers a turn later.
    await Promise.resolve();
    tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, Uint8Array.from([0, query.length, ...query]));
    await Promise.resolve();
    tcp.expect({ flags: "ACK" });
    expect(script.queries[0]!.tcp).toBe(true);
    script.queries[0]!.answer(answer);
    await Promise.resolve();
    tcp.expect({ flags: "ACK" }, Uint8Array.from([0, answer.length, ...answer]));
  });

  test("it has no other port", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: DNS_IP6 }, udp: { srcPort: 4000, dstPort: 54 } });
    script.expect({ ip6: { src: DNS_IP6 }, icmp6: { type: 1, code: 4 } });
    script.send({ ip6: { dst: DNS_IP6 }, tcp: { flags: "SYN", dstPort: 54 } });
    script.expect({ tcp: { flags: "RST ACK" } });
  });
});

describe("echo (RFC 4443 section 4.2)", () => {
  test.each([
    [GUEST_IP6, GATEWAY_IP6],
    [GUEST_IP6, DNS_IP6],
    [GUEST_IP6, GATEWAY_LINK_LOCAL],
    [GUEST_LINK_LOCAL, GATEWAY_LINK_LOCAL],
    [GUEST_LINK_LOCAL, GATEWAY_IP6],
  ])("%s gets an answer from %s, identifier, sequence number and data unchanged", (src, dst) => {
    const script = new PacketScript();
    script.send({ ip6: { src, dst }, icmp6: { type: 128, id: 77, seq: 3 }, payload: "ping" });
    script.expect({ ip6: { src: dst, dst: src }, icmp6: { type: 129, code: 0, id: 77, seq: 3 }, payload: "ping" });
  });

  test.each(["ff02::1", "ff02::2"])("to the group %s the router answers from its own address", (dst) => {
    const script = new PacketScript();
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst }, icmp6: { id: 1, seq: 1 } });
    script.expect({ ip6: { src: GATEWAY_LINK_LOCAL, dst: GUEST_LINK_LOCAL }, icmp6: { type: 129 } });
  });

  test(
    proves(
      "bad.ip.icmp6-length",
      "a message longer than its frame is dropped, never answered with what is behind (CVE-2020-10756)",
    ),
    () => {
      const script = new PacketScript();
      script.send({ ip6: { dst: GATEWAY_IP6, length: 500 }, icmp6: {}, payload: "x" });
      script.expectNothing();
      expect(script.dropped("ip-malformed")).toBe(1);
    },
  );

  test("a wrong checksum drops it", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: GATEWAY_IP6 }, icmp6: { checksum: 1 } });
    script.expectNothing();
    expect(script.dropped("icmp-checksum")).toBe(1);
  });

  test("an answer that does not fit 1500 bytes comes in fragments", () => {
    const script = new PacketScript();
    const data = bytes(3000);
    for (const [offset, mf] of [
      [0, true],
      [1448, true],
      [2896, false],
    ] as const) {
      const message = Uint8Array.from([...echoHead(GUEST_IP6, GATEWAY_IP6, data), ...data]);
      const part = message.slice(offset, offset + 1448);
      script.send({ ip6: { dst: GATEWAY_IP6, proto: 58, fragment: { offset, mf, id: 9 } }, payload: part });
    }
    const frames = script.takeAll();
    expect(frames.map(({ ip6 }) => [ip6!.fragment!.offset, ip6!.fragment!.mf])).toEqual([
      [0, true],
      [1448, true],
      [2896, false],
    ]);
    expect(Buffer.concat(frames.map((frame) => frame.payload)).subarray(8)).toEqual(Buffer.from(data));
  });
});

/** Type, code, checksum, identifier 1 and sequence number 1 of an echo request with this data. */
function echoHead(src: string, dst: string, data: Uint8Array): number[] {
  const words = (text: string): number[] => {
    const [left = "", right = ""] = text.split("::");
    const parse = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
    const [a, b] = [parse(left), parse(right)];
    return [...a, ...new Array<number>(8 - a.length - b.length).fill(0), ...b];
  };
  let sum = 0x8000 + 1 + 1 + 58 + data.length + 8;
  for (const word of [...words(src), ...words(dst)]) sum += word;
  for (let i = 0; i < data.length; i += 2) sum += data[i]! * 256 + (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return [128, 0, (~sum >> 8) & 255, ~sum & 255, 0, 1, 0, 1];
}

describe("who may speak", () => {
  test.each([
    [GATEWAY_IP6, "the gateway's address"],
    [DNS_IP6, "the DNS server's"],
    [GATEWAY_LINK_LOCAL, "the router's"],
    ["2001:db8::77", "an address outside the net"],
    ["fec0::", "the net's anycast address"],
    ["::", "no address"],
    ["::1", "loopback"],
    ["ff02::1", "a group"],
  ])("nobody speaks from %s: %s", (src) => {
    const script = new PacketScript();
    script.send({ ip6: { src, dst: GATEWAY_IP6 }, icmp6: {} });
    script.expectNothing();
    expect(script.dropped("ip-source")).toBe(1);
  });

  test("a frame to another MAC is not for us", () => {
    const script = new PacketScript();
    script.send({ eth: { dst: "52:54:00:00:00:99" }, ip6: { dst: GATEWAY_IP6 }, icmp6: {} });
    script.expectNothing();
    expect(script.dropped("ip-destination")).toBe(1);
  });

  test("a link-local source gets no further than the cable (RFC 4291 section 2.5.6)", () => {
    const script = new PacketScript();
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst: FAR_IP6 }, tcp: { flags: "SYN" } });
    script.expect({ ip6: { src: GATEWAY_LINK_LOCAL }, icmp6: { type: 1, code: 2 } });
    expect(script.host.dialled).toEqual([]);
  });
});

describe("headers (RFC 8200)", () => {
  test("options that may be skipped are, and the packet gets through", () => {
    const script = new PacketScript();
    const extensions = [
      { header: 0, body: [5, 2, 0, 0] },
      { header: 60, body: [1, 2, 0, 0] },
      { header: 43, body: [0, 0] },
    ];
    script.send({ ip6: { dst: GATEWAY_IP6, extensions }, icmp6: { id: 1 }, payload: "x" });
    script.expect({ icmp6: { type: 129 }, payload: "x" });
  });

  test(proves("ipv6.unknown-header", "an unknown next header is a parameter problem that points at it"), () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6, proto: 253 }, payload: "what" });
    const error = script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 4, code: 1, word: 6 } });
    expect(error.payload.length).toBe(44);
    expect(script.dropped("ip-header")).toBe(1);
  });

  test("an unknown option that asks for it is one, too, at its place", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: GATEWAY_IP6, extensions: [{ header: 60, body: [1, 0, 0x9e, 0] }] }, icmp6: {} });
    script.expect({ icmp6: { type: 4, code: 2, word: 44 } });
  });

  test("a routing header with somewhere left to go is one, too (RFC 5095)", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: GATEWAY_IP6, extensions: [{ header: 43, body: [0, 1] }] }, icmp6: {} });
    script.expect({ icmp6: { type: 4, code: 0, word: 42 } });
  });

  test("to a group only for the options that ask for it (RFC 4443 section 2.4 e.3)", () => {
    const script = new PacketScript();
    const to = (option: number) => ({
      ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1", extensions: [{ header: 60, body: [option, 0] }] },
      icmp6: {},
    });
    script.send(to(0xde));
    script.expectNothing();
    script.send(to(0x9e));
    script.expect({ ip6: { src: GATEWAY_LINK_LOCAL }, icmp6: { type: 4, code: 2 } });
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1", proto: 253 } });
    script.expectNothing();
  });

  test("a hop limit of 1 ends at the gateway, which says so", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6, hopLimit: 1 }, udp: { dstPort: 33_434 }, payload: "probe" });
    script.expect({ ip6: { src: GATEWAY_IP6, dst: GUEST_IP6 }, icmp6: { type: 3, code: 0 } });
    script.send({ ip6: { dst: GATEWAY_IP6, hopLimit: 1 }, icmp6: {} });
    script.expect({ icmp6: { type: 129 } });
  });

  test("no error is about an error", () => {
    const script = new PacketScript();
    script.send({ ip6: { dst: FAR_IP6, hopLimit: 1 }, icmp6: { type: 1, code: 4 }, payload: bytes(48) });
    script.expectNothing();
  });

  test("errors are rate-limited (RFC 4443 section 2.4 f)", () => {
    const script = new PacketScript();
    for (let i = 0; i < 150; i++) script.send({ ip6: { dst: FAR_IP6, hopLimit: 1 }, udp: {} });
    expect(script.takeAll().length).toBe(100);
    expect(script.dropped("icmp-rate")).toBe(50);
    script.advance(1000);
    script.send({ ip6: { dst: FAR_IP6, hopLimit: 1 }, udp: {} });
    script.expect({ icmp6: { type: 3 } });
  });
});

describe("families", () => {
  test("with IPv6 off nothing is answered, announced or learned", () => {
    const script = new PacketScript({ ipv6: false });
    script.send({ ip6: { dst: GATEWAY_IP6 }, icmp6: {} });
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::2" }, ndp: { kind: "rs" } });
    script.advance(60_000);
    script.expectNothing();
    expect(script.adverts).toEqual([]);
    expect(script.dropped("eth-type")).toBe(2);
  });

  test("with IPv4 off neither ARP nor DHCP nor IPv4 is answered, and IPv6 is", () => {
    const script = new PacketScript({ ipv4: false });
    script.send({ arp: {} });
    script.send({ ip: { dst: "10.0.2.2" }, icmp: {} });
    script.expectNothing();
    expect(script.dropped("eth-type")).toBe(2);
    script.send({ ip6: { dst: GATEWAY_IP6 }, icmp6: {} });
    script.expect({ icmp6: { type: 129 } });
  });
});
