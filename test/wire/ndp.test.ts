import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dnsEncodeNames } from "../../src/wire/dns.ts";
import * as icmp from "../../src/wire/icmp6.ts";
import * as ip from "../../src/wire/ipv6.ts";
import * as wire from "../../src/wire/ndp.ts";
import { internetChecksum } from "../support/frames.ts";
import { hexFixture } from "../support/hex-fixture.ts";

const MAC = Uint8Array.of(0x52, 0x56, 0, 0, 0, 2);
const addr = ip.ipv6FromText;

/** What stands behind the IPv6 header at 0, once the checksum has been found right by another's reckoning. */
function message(buf: Uint8Array, end: number): Uint8Array {
  const length = end - 40;
  const pseudo = Uint8Array.from([...buf.subarray(8, 40), 0, 0, length >> 8, length & 255, 0, 0, 0, 58]);
  expect(internetChecksum(pseudo, buf.subarray(40, end))).toBe(0);
  return buf.slice(40, end);
}

function header(src: string, dst: string): Uint8Array {
  const buf = new Uint8Array(600).fill(0xee);
  ip.ipv6Write(buf, 0, addr(src), 0, addr(dst), 0, ip.PROTO_ICMP6, 0, 255);
  return buf;
}

describe("ICMPv6", () => {
  test("a written message has a right checksum, and any changed byte makes it wrong (RFC 4443 section 2.3)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), fc.nat(), (body, where, flip) => {
        const buf = header("fec0::15", "fec0::2");
        buf.set(body, 48);
        icmp.icmp6Write(buf, 0, 40, icmp.ICMP6_ECHO, 0, 0x12345678, body.length);
        const length = 8 + body.length;
        message(buf, 40 + length);
        expect(icmp.icmp6Check(buf, 0, 40, length)).toBe(true);
        expect(buf.subarray(44, 48)).toEqual(Uint8Array.of(0x12, 0x34, 0x56, 0x78));
        const at = 8 + (where % (32 + length));
        buf[at]! ^= 1 << (flip % 8);
        expect(icmp.icmp6Check(buf, 0, 40, length)).toBe(false);
      }),
    );
  });

  test("less than a header is no message", () => {
    expect(icmp.icmp6Check(new Uint8Array(48), 0, 40, 7)).toBe(false);
  });
});

describe("messages of real clients", () => {
  test.each([
    ["linux-dad", wire.NDP_NEIGHBOUR_SOLICIT, "fe80::5054:ff:fe12:3456", false],
    ["linux-neighbour-solicit", wire.NDP_NEIGHBOUR_SOLICIT, "fec0::2", true],
    ["linux-router-solicit", wire.NDP_ROUTER_SOLICIT, null, true],
  ] as const)("%s", (name, type, target, hasMac) => {
    const frame = hexFixture(`ipv6/${name}`);
    const len = ip.ipv6PayloadLength(frame, 14);
    expect(ip.ipv6Check(frame, 14, frame.length - 14)).toBe(true);
    expect(ip.ipv6HopLimit(frame, 14)).toBe(wire.NDP_HOP_LIMIT);
    expect(icmp.icmp6Check(frame, 14, 54, len)).toBe(true);
    expect(frame[54]).toBe(type);
    expect(wire.ndpCheck(frame, 54, len)).toBe(true);
    if (target !== null) expect(ip.ipv6ToString(frame, wire.ndpTarget(frame, 54))).toBe(target);
    const mac = wire.ndpMac(frame, 54, len, wire.NDP_OPT_SOURCE_MAC);
    expect(mac < 0 ? null : [...frame.subarray(mac, mac + 6)]).toEqual(hasMac ? [...frame.subarray(6, 12)] : null);
  });
});

describe("check", () => {
  const solicit = (...options: number[]): Uint8Array => Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, ...options);
  const ok = (bytes: Uint8Array): boolean => wire.ndpCheck(bytes, 0, bytes.length);

  test("RFC 4861 section 6.1.1: code 0, eight bytes, options of a length above 0 that fill the message", () => {
    expect(ok(solicit())).toBe(true);
    expect(ok(solicit(1, 1, 2, 2, 2, 2, 2, 2))).toBe(true);
    expect(ok(solicit(77, 1, 2, 2, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0))).toBe(true);
    expect(ok(Uint8Array.of(133, 1, 0, 0, 0, 0, 0, 0))).toBe(false);
    expect(ok(solicit().subarray(0, 7))).toBe(false);
    expect(ok(solicit(1, 0, 2, 2, 2, 2, 2, 2))).toBe(false);
    expect(ok(solicit(1, 2, 2, 2, 2, 2, 2, 2))).toBe(false);
    expect(ok(solicit(1, 1, 2, 2, 2, 2, 2))).toBe(false);
    expect(ok(solicit(1))).toBe(false);
  });

  test.each([
    [134, 16],
    [135, 24],
    [136, 24],
    [137, 40],
  ])("type %i has %i bytes at least", (type, least) => {
    const bytes = new Uint8Array(least);
    bytes[0] = type;
    expect(ok(bytes)).toBe(true);
    expect(ok(bytes.subarray(0, least - 1))).toBe(false);
  });

  test("other types, and nothing at all, are no neighbour discovery", () => {
    for (const type of [0, 128, 132, 138, 255]) {
      const bytes = new Uint8Array(64);
      bytes[0] = type;
      expect(ok(bytes)).toBe(false);
    }
    expect(ok(new Uint8Array(0))).toBe(false);
  });

  test("property: reading options ends within the message, whatever the bytes", () => {
    const options = fc.array(
      fc.tuple(fc.constantFrom(1, 2, 3, 31, 200), fc.nat(3), fc.uint8Array({ minLength: 6, maxLength: 6 })),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(options, fc.nat(7), fc.constantFrom(1, 2, 99), (list, cut, wanted) => {
        const all = solicit(...list.flatMap(([type, length, rest]) => [type, length, ...rest]));
        const len = Math.max(0, all.length - cut);
        const padded = new Uint8Array(all.length + 300).fill(wanted);
        padded.set(all.subarray(0, len));
        if (!wire.ndpCheck(padded, 0, len)) return;
        const at = wire.ndpOption(padded, 0, len, wanted);
        if (at >= 0) expect(at + 8 * padded[at + 1]!).toBeLessThanOrEqual(len);
      }),
    );
  });
});

describe("what we send", () => {
  test("a neighbour advertisement (RFC 4861 section 4.4)", () => {
    const buf = header("fec0::2", "fec0::15");
    const flags = wire.NA_ROUTER | wire.NA_SOLICITED | wire.NA_OVERRIDE;
    wire.ndpWriteAdvert(buf, 0, 40, flags, addr("fec0::2"), 0, MAC);
    const na = message(buf, 40 + wire.NDP_NEIGHBOUR_LENGTH);
    expect([...na]).toEqual([136, 0, na[2], na[3], 0xe0, 0, 0, 0, ...addr("fec0::2"), 2, 1, ...MAC]);
  });

  test("a neighbour solicitation (RFC 4861 section 4.3)", () => {
    const buf = header("fe80::2", "ff02::1:ff00:15");
    wire.ndpWriteSolicit(buf, 0, 40, addr("fec0::15"), 0, MAC);
    const ns = message(buf, 40 + wire.NDP_NEIGHBOUR_LENGTH);
    expect([...ns]).toEqual([135, 0, ns[2], ns[3], 0, 0, 0, 0, ...addr("fec0::15"), 1, 1, ...MAC]);
  });

  test("a router advertisement with every option (RFC 4861 section 4.2, RFC 8106 section 5)", () => {
    const buf = header("fe80::2", "ff02::1");
    let i = wire.ndpRouterOptions(40);
    i = wire.ndpPutMac(buf, i, wire.NDP_OPT_SOURCE_MAC, MAC);
    const onLinkAutonomous = wire.PREFIX_ON_LINK | wire.PREFIX_AUTONOMOUS;
    i = wire.ndpPutPrefix(buf, i, addr("fec0:0:0:12ff::9"), 61, onLinkAutonomous, 86_400, 14_400);
    i = wire.ndpPutMtu(buf, i, 65_520);
    i = wire.ndpPutRdnss(buf, i, [addr("fec0::3"), addr("fec0::4")], 600);
    const names = dnsEncodeNames(["Lab.test", "a"], 2032);
    i = wire.ndpPutDnssl(buf, i, names, 600);
    wire.ndpWriteRouter(buf, 0, 40, i, 64, wire.RA_OTHER, 1800);
    const ra = message(buf, i);
    expect(wire.ndpCheck(ra, 0, ra.length)).toBe(true);
    expect([...ra]).toEqual([
      ...[134, 0, ra[2], ra[3], 64, 0x40, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0],
      ...[1, 1, ...MAC],
      ...[3, 4, 61, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0, ...addr("fec0:0:0:12f8::")],
      ...[5, 1, 0, 0, 0, 0, 0xff, 0xf0],
      ...[25, 5, 0, 0, 0, 0, 2, 0x58, ...addr("fec0::3"), ...addr("fec0::4")],
      ...[31, 3, 0, 0, 0, 0, 2, 0x58, 3, 0x6c, 0x61, 0x62, 4, 0x74, 0x65, 0x73, 0x74, 0, 1, 0x61, 0, 0, 0, 0],
    ]);
  });

  test("names beyond the limit, and such as DNS cannot carry, are left out", () => {
    expect(dnsEncodeNames(["a..b", "", "ok.test", "x".repeat(64), "more.test"], 12)).toHaveLength(9);
  });
});
