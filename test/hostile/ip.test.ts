/** Packets whose headers lie about lengths, places and fragments: "Bad input" of ../cases/list.ts, through the stack. */
import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { heldMegabytes } from "../support/held-memory.ts";
import { FAR_IP, FAR_IP6, PacketScript } from "../support/packet-script.ts";
import { attack, drops, expectAlive, stale } from "./attack.ts";

const DATAGRAM = encodeFrame({ ip: {}, udp: { dstPort: 7 }, payload: "d".repeat(4_000) }).subarray(34);
const DATAGRAM6 = encodeFrame({ ip6: {}, udp: { dstPort: 7 }, payload: "d".repeat(4_000) }).subarray(54);

type Fragment = (offset: number, length: number, mf: boolean, id?: number) => FrameSpec;

/** A fragment's bytes are the datagram's at that place, and beyond it zeros. */
function piece(datagram: Uint8Array, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(datagram.subarray(offset, offset + length));
  return bytes;
}
const fragment4: Fragment = (offset, length, mf, id = 1) => ({
  ip: { proto: 17, df: false, id, offset, mf },
  payload: piece(DATAGRAM, offset, length),
});
const fragment6: Fragment = (offset, length, mf, id = 1) => ({
  ip6: { proto: 17, fragment: { offset, mf, id } },
  payload: piece(DATAGRAM6, offset, length),
});
const FAMILIES: readonly [string, Fragment, string][] = [
  ["IPv4", fragment4, FAR_IP],
  ["IPv6", fragment6, FAR_IP6],
];

/** 4008 bytes in three. */
function whole(fragment: Fragment, id: number): FrameSpec[] {
  return [fragment(0, 1_400, true, id), fragment(1_400, 1_400, true, id), fragment(2_800, 1_208, false, id)];
}

describe.each(FAMILIES)("fragments in %s", (_name, fragment, far) => {
  const repeated = Array.from({ length: 600 }, () => fragment(8, 8, true));
  const growing = Array.from({ length: 46 }, (_, i) => fragment(i * 1_440, 1_440, true));
  test.each<[string, FrameSpec[]]>([
    ["that overlap", [fragment(0, 1_400, true), fragment(1_392, 1_400, true), fragment(2_792, 1_216, false)]],
    ["inside one that is here", [fragment(0, 1_400, true), fragment(8, 16, true), ...whole(fragment, 1)]],
    ["around one that is here", [fragment(800, 8, true), ...whole(fragment, 1)]],
    ["of no bytes", [fragment(0, 0, true), fragment(8, 0, true), fragment(16, 0, false)]],
    ["of one place, 600 times", repeated],
    ["that grow beyond 65535 bytes", [...growing, fragment(65_528, 1_400, false)]],
    ["at the last offset there is", [fragment(65_528, 1_400, true), fragment(65_528, 1_400, false)]],
    ["with two ends", [fragment(2_800, 1_208, false), fragment(1_400, 800, false), ...whole(fragment, 1)]],
  ])(proves("bad.ip.fragments-overlap", "%s: nothing of that datagram arrives, and the next one does"), (_, list) => {
    const script = new PacketScript();
    const echo = script.host.udpFar({ host: far, port: 7 });
    attack(script, list);
    expect(echo.received).toEqual([]);
    attack(script, whole(fragment, 2));
    expect(echo.received.length).toBe(1);
  });

  test(
    proves("bad.ip.fragmentsmack", "5000 incomplete datagrams: bounded, forgotten after 60 s, others get through"),
    () => {
      const script = new PacketScript();
      const echo = script.host.udpFar({ host: far, port: 7 });
      const before = heldMegabytes();
      function* flood(): Iterable<FrameSpec> {
        for (let id = 10; id < 5_010; id++) yield fragment(1_400, 1_400, true, id);
      }
      attack(script, flood(), { megabytes: 6 });
      const evicted = script.dropped("reassembly-full");
      expect(evicted).toBeGreaterThanOrEqual(5_000 - 192);
      attack(script, whole(fragment, 2));
      expect(echo.received.length).toBe(1);
      script.advance(60_001);
      script.takeAll();
      expect(script.dropped("ip-fragment")).toBe(5_000 - script.dropped("reassembly-full"));
      expect(heldMegabytes() - before).toBeLessThan(3);
    },
  );
});

describe("lengths that contradict each other", () => {
  test(
    proves("bad.ip.length-mismatch", "CVE-2017-3558: an IP length beyond the frame, or below its header: dropped"),
    () => {
      for (const length of [0, 1, 19, 20, 27, 32, 34, 65_535]) {
        const script = new PacketScript();
        const echo = script.host.udpFar({ host: FAR_IP, port: 7 });
        attack(script, [{ ip: { length }, udp: { dstPort: 7 }, payload: "hello" }]);
        expect(echo.received, `length ${length}`).toEqual([]);
        expect(
          Object.values(drops(script)).reduce((a, b) => a + b),
          JSON.stringify(drops(script)),
        ).toBe(2);
      }
    },
  );

  test(
    proves(
      ["bad.ip.length-mismatch", "bad.ip.v6-retained"],
      "what is behind the packet in its frame reaches nobody, by TCP, UDP and ping",
    ),
    () => {
      const script = new PacketScript();
      const padding = 900;
      const soiled = (spec: FrameSpec): Uint8Array => {
        const frame = encodeFrame({ ...spec, eth: { dst: spec.ip6 ? "52:56:00:00:00:02" : "52:55:0a:00:02:02" } });
        const longer = new Uint8Array(frame.length + padding).fill(0xa5);
        longer.set(frame);
        return longer;
      };
      for (const ip of [{ ip: {} }, { ip6: {} }]) {
        const dst = "ip" in ip ? FAR_IP : FAR_IP6;
        const echo = script.host.udpFar({ host: dst, port: 7 });
        script.sendRaw(soiled({ ...ip, udp: { dstPort: 7 }, payload: "hello" }));
        expect(echo.received.map((d) => Buffer.from(d.bytes).toString())).toEqual(["hello"]);
        const tcp = script.tcp({ dst });
        tcp.establish();
        script.sendRaw(soiled(tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, "hello")));
        tcp.expect({ ack: 6 });
        expect(script.host.dialled.at(-1)!.text).toBe("hello");
      }
      script.sendRaw(soiled({ ip: { dst: "10.0.2.2" }, icmp: { type: 8 }, payload: "ping" }));
      expect(stale(script.expect({ icmp: { type: 0 }, payload: "ping" }).payload)).toBe(0);
      expectAlive(script);
    },
  );

  test.each([0, 1, 7, 14, 2_000, 65_535])(
    proves("bad.udp.length", "IPv4: a UDP length of %i in a datagram of 13 bytes drops it"),
    (length) => {
      const script = new PacketScript();
      const echo = script.host.udpFar({ host: FAR_IP, port: 7 });
      expect(attack(script, [{ ip: {}, udp: { dstPort: 7, length, checksum: 0 }, payload: "hello" }])).toEqual([]);
      expect(echo.received).toEqual([]);
      expect(script.dropped("udp-malformed")).toBe(1);
    },
  );

  test(proves("bad.any.counted", "each of these is dropped for its own reason, and counted once"), () => {
    const rows: [FrameSpec | Uint8Array, string][] = [
      [new Uint8Array(13), "eth-short"],
      [{ eth: { type: 0x88f8 }, payload: "x".repeat(50) }, "eth-type"],
      [{ eth: { type: 0x0806 }, payload: "x".repeat(12) }, "arp-malformed"],
      [{ arp: { senderIp: "10.0.2.2" } }, "arp-spoofed"],
      [{ ip: { checksum: 1 }, udp: {} }, "ip-malformed"],
      [{ ip: { src: "10.0.2.2" }, udp: {} }, "ip-source"],
      [{ ip: { src: "127.0.0.1" }, udp: {} }, "ip-source"],
      [{ ip: { src: "224.0.0.1" }, udp: {} }, "ip-source"],
      [{ ip: { src: "198.51.100.7" }, udp: {} }, "ip-source"],
      [{ ip: { proto: 47 }, payload: "gre" }, "ip-protocol"],
      [{ ip: { dst: "224.0.0.251" }, udp: { dstPort: 5353 } }, "policy"],
      [{ ip: { ttl: 0 }, udp: {} }, "ip-ttl"],
      [{ ip: {}, udp: { length: 7 } }, "udp-malformed"],
      [{ ip: {}, udp: { checksum: 1 } }, "udp-malformed"],
      [{ ip: {}, tcp: { flags: "SYN", checksum: 1 } }, "tcp-checksum"],
      [{ ip: { proto: 6 }, payload: "x".repeat(19) }, "tcp-malformed"],
      [{ ip: { dst: "10.0.2.2" }, icmp: { type: 8, checksum: 1 } }, "icmp-checksum"],
      [{ ip: {}, icmp: { type: 13 } }, "icmp-type"],
      [{ ip: { dst: "255.255.255.255" }, udp: { srcPort: 68, dstPort: 67 }, payload: "short" }, "dhcp-malformed"],
      [{ ip: { dst: "10.0.2.3" }, udp: { dstPort: 53 }, payload: "short" }, "dns-malformed"],
    ];
    for (const [frame, reason] of rows) {
      const script = new PacketScript();
      attack(script, [frame]);
      // The soil before it is the one of an unknown type.
      const seen = { ...drops(script) };
      seen["eth-type"] = seen["eth-type"]! - 1;
      if (seen["eth-type"] === 0) delete seen["eth-type"];
      expect(seen, JSON.stringify(frame)).toEqual({ [reason]: 1 });
    }
  });
});

describe("addresses that no guest may name", () => {
  test.each([
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fd00:ec2::254",
    "64:ff9b::169.254.169.254",
    "::ffff:169.254.169.254",
  ])(proves("bad.ip.metadata", "%s: nothing is dialled or sent there, and the guest is told"), (dst) => {
    const script = new PacketScript();
    const ip: FrameSpec = dst.includes(":") ? { ip6: { dst } } : { ip: { dst } };
    const ping: FrameSpec = dst.includes(":") ? { ...ip, icmp6: { type: 128 } } : { ...ip, icmp: { type: 8 } };
    const tcp = script.tcp({ dst });
    const answers = attack(script, [tcp.frame({ flags: "SYN", seq: 0 }), { ...ip, udp: { dstPort: 80 } }, ping]);
    expect(answers.map((a) => a.tcp?.flags ?? (a.icmp ?? a.icmp6)?.type)).toEqual(
      dst.includes(":") ? ["RST ACK", 1, 1] : ["RST ACK", 3, 3],
    );
    expect(script.host.dialled).toEqual([]);
    expect(script.host.open).toBe(0);
  });

  test(
    proves("bad.ip.forged-icmp", "loopback, multicast, unspecified or foreign sources make no flow, and draw nothing"),
    () => {
      const script = new PacketScript();
      function* forged(): Iterable<FrameSpec> {
        for (const src of [
          "127.0.0.1",
          "224.0.0.1",
          "255.255.255.255",
          "10.0.2.2",
          "10.0.2.3",
          "10.0.2.255",
          "8.8.8.8",
        ]) {
          yield { ip: { src }, udp: { dstPort: 7 } };
          yield { ip: { src }, tcp: { flags: "SYN", dstPort: 80 } };
          yield { ip: { src }, icmp: { type: 8 } };
        }
        for (const src of ["::1", "ff02::1", "::ffff:127.0.0.1", "fec0::2", "fec0::3", "fe80::2", "2001:db8::7"]) {
          yield { ip6: { src }, udp: { dstPort: 7 } };
          yield { ip6: { src }, tcp: { flags: "SYN", dstPort: 80 } };
          yield { ip6: { src }, icmp6: { type: 128 } };
        }
      }
      expect(attack(script, forged())).toEqual([]);
      expect(script.stack.flows()).toEqual([]);
      expect(script.host.open).toBe(0);
    },
  );
});

test(proves("bad.arp.nc-si", "CVE-2020-29129, -29130: NC-SI and ARP of any wrong shape draw silence"), () => {
  const script = new PacketScript();
  const arp = encodeFrame({ arp: { targetIp: "10.0.2.2" } });
  function* wrong(): Iterable<FrameSpec | Uint8Array> {
    for (const size of [0, 1, 16, 46, 1_500]) yield { eth: { type: 0x88f8 }, payload: new Uint8Array(size) };
    for (let length = 14; length < 42; length++) yield arp.slice(0, length);
    // Hardware and protocol types and their lengths, and the operation.
    for (const [at, value] of [
      [15, 6],
      [16, 9],
      [18, 255],
      [18, 0],
      [19, 255],
      [19, 16],
      [21, 3],
      [21, 0],
    ] as const) {
      const changed = arp.slice();
      changed[at] = value;
      yield changed;
    }
  }
  expect(attack(script, wrong())).toEqual([]);
  expect(script.dropped("arp-malformed")).toBe(28 + 8);
});
