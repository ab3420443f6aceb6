import { SocketAddress } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { scalarSum } from "../../src/wire/checksum.ts";
import { frameFacts, readFacts } from "../../src/wire/frame-facts.ts";
import * as wire from "../../src/wire/ipv6.ts";
import * as ext from "../../src/wire/ipv6-extensions.ts";

const addresses = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 0xff02, 0xabc), { minLength: 8, maxLength: 8 })
    .map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 255]))),
);
const ip = wire.ipv6FromText;

/** A packet from fec0::15 to fec0::2, or to `dst`. */
function packet(next: number, payload: readonly number[], dst = "fec0::2"): Uint8Array {
  const buf = new Uint8Array(40 + payload.length);
  wire.ipv6Write(buf, 0, ip("fec0::15"), 0, ip(dst), 0, next, payload.length, 64);
  buf.set(payload, 40);
  return buf;
}

describe("addresses", () => {
  test.each([
    ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1::1", "2001:0:0:1:0:0:0:1"],
    ["2001:db8::1:0:0:1", "2001:db8:0:0:1:0:0:1"],
    ["::", "::"],
    ["::1", "0:0:0:0:0:0:0:1"],
    ["fec0::", "fec0::"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
  ])("%s is how RFC 5952 writes %s", (short, long) => {
    expect(wire.ipv6ToString(ip(long))).toBe(short);
  });

  test("text is what Node's parser makes of it, and reads back", () => {
    fc.assert(
      fc.property(addresses, (bytes) => {
        const text = wire.ipv6ToString(bytes);
        expect(wire.ipv6FromText(text)).toEqual(bytes);
        expect(wire.ipv6FromText(new SocketAddress({ family: "ipv6", address: text }).address)).toEqual(bytes);
      }),
    );
  });

  test("kinds (RFC 4291 section 2.4)", () => {
    const kind = (text: string): string[] => {
      const a = ip(text);
      const kinds = {
        multicast: wire.ipv6IsMulticast,
        linkLocal: wire.ipv6IsLinkLocal,
        unspecified: wire.ipv6IsUnspecified,
        mapped: wire.ipv6IsV4Mapped,
      };
      return Object.entries(kinds).flatMap(([name, is]) => (is(a, 0) ? [name] : []));
    };
    expect(kind("ff02::1")).toEqual(["multicast"]);
    expect(kind("fe80::1")).toEqual(["linkLocal"]);
    expect(kind("febf::1")).toEqual(["linkLocal"]);
    expect(kind("fec0::1")).toEqual([]);
    expect(kind("::1")).toEqual([]);
    expect(kind("::")).toEqual(["unspecified"]);
    expect(kind("::ffff:127.0.0.1")).toEqual(["mapped"]);
    expect(kind("::127.0.0.1")).toEqual([]);
    expect(kind("2001:db8::1")).toEqual([]);
  });

  test("solicited-node address and its Ethernet group (RFC 4291 section 2.7.1, RFC 2464 section 7)", () => {
    const group = new Uint8Array(16);
    wire.ipv6WriteSolicitedNode(group, 0, ip("fec0::aa12:3456"), 0);
    expect(wire.ipv6ToString(group)).toBe("ff02::1:ff12:3456");
    const mac = new Uint8Array(6);
    wire.ipv6WriteMulticastMac(mac, 0, group, 0);
    expect([...mac]).toEqual([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
  });

  test("prefixes agree bit by bit", () => {
    fc.assert(
      fc.property(addresses, addresses, fc.integer({ min: 0, max: 128 }), (a, b, bits) => {
        const text = (x: Uint8Array): string => Array.from(x, (v) => v.toString(2).padStart(8, "0")).join("");
        expect(wire.ipv6SamePrefix(a, 0, b, 0, bits)).toBe(text(a).slice(0, bits) === text(b).slice(0, bits));
        const mixed = Uint8Array.from(a, (v, i) => (8 * i + 8 <= bits ? v : (b[i] ?? 0)));
        expect(wire.ipv6SamePrefix(a, 0, mixed, 0, bits & ~7)).toBe(true);
        expect(wire.ipv6Equals(a, 0, b, 0)).toBe(text(a) === text(b));
      }),
    );
  });
});

describe("header", () => {
  test("what is written is read (RFC 8200 section 3)", () => {
    fc.assert(
      fc.property(
        addresses,
        addresses,
        fc.nat(255),
        fc.nat(200),
        fc.nat(255),
        fc.nat(9),
        (src, dst, next, len, hops, at) => {
          const buf = new Uint8Array(at + 40 + len);
          expect(wire.ipv6Write(buf, at, src, 0, dst, 0, next, len, hops)).toBe(at + 40);
          expect(wire.ipv6Check(buf, at, 40 + len)).toBe(true);
          expect(wire.ipv6Check(buf, at, 39 + len)).toBe(false);
          expect(wire.ipv6NextHeader(buf, at)).toBe(next);
          expect(wire.ipv6HopLimit(buf, at)).toBe(hops);
          expect(wire.ipv6PayloadLength(buf, at)).toBe(len);
          expect(wire.ipv6Equals(buf, wire.ipv6Src(buf, at), src, 0)).toBe(true);
          expect(wire.ipv6Equals(buf, wire.ipv6Dst(buf, at), dst, 0)).toBe(true);
        },
      ),
    );
  });

  test("another version, or a payload beyond the frame, is no packet", () => {
    const buf = packet(59, [1, 2]);
    buf[0] = 0x40;
    expect(wire.ipv6Check(buf, 0, 42)).toBe(false);
    expect(wire.ipv6Check(packet(59, [1, 2]), 0, 41)).toBe(false);
    expect(wire.ipv6Check(new Uint8Array(0), 0, 0)).toBe(false);
  });

  test("the pseudo-header's sum is that of its 40 bytes (RFC 8200 section 8.1)", () => {
    fc.assert(
      fc.property(addresses, addresses, fc.nat(255), fc.nat(65_535), (src, dst, proto, len) => {
        const pseudo = Uint8Array.from([...src, ...dst, 0, 0, len >> 8, len & 255, 0, 0, 0, proto]);
        expect(wire.ipv6Pseudo(src, 0, dst, 0, proto, len)).toBe(scalarSum(pseudo, 0, 40));
      }),
    );
  });
});

describe("extension headers", () => {
  const walk = ext.newIpv6Walk();
  const go = (next: number, payload: readonly number[], padding = 0): number => {
    const bytes = packet(next, payload);
    const padded = new Uint8Array(bytes.length + padding).fill(0xee);
    padded.set(bytes);
    return ext.ipv6Walk(padded, 0, walk);
  };
  const PAD = [1, 4, 0, 0, 0, 0];
  const UDP = [0, 1, 0, 2, 0, 8, 0, 0];

  test("without any: the payload is what the header says, padding is never data", () => {
    expect(go(17, UDP, 20)).toBe(ext.WALK_UPPER);
    expect(walk).toMatchObject({ proto: 17, payloadAt: 40, payloadLen: 8, nextHeaderAt: 6, fragmentAt: -1 });
  });

  test("hop-by-hop, destination, routing and an atomic fragment are passed over; their lengths are taken off", () => {
    const chain = [
      ...[43, 0, ...PAD],
      ...[60, 0, 4, 0, 0, 0, 0, 0],
      ...[44, 1, ...PAD, 1, 6, 0, 0, 0, 0, 0, 0],
      ...[17, 0, 0, 0, 1, 2, 3, 4],
    ];
    expect(go(0, [...chain, ...UDP], 3)).toBe(ext.WALK_UPPER);
    expect(walk).toMatchObject({ proto: 17, payloadAt: 40 + 40, payloadLen: 8, nextHeaderAt: 40 + 32, fragmentAt: 72 });
  });

  test("a fragment ends the walk, whatever it names", () => {
    expect(go(60, [44, 0, ...PAD, 99, 0, 0x01, 0x01, 1, 2, 3, 4, ...UDP])).toBe(ext.WALK_FRAGMENT);
    expect(walk).toMatchObject({ proto: 99, payloadAt: 56, payloadLen: 8, nextHeaderAt: 40, fragmentAt: 48 });
    expect(walk).toMatchObject({ fragmentOffset: 256, moreFragments: true });
    const bytes = packet(44, [17, 0, 0, 1, 1, 2, 3, 4]);
    expect(ext.ipv6FragmentId(bytes, 40)).toBe(0x01020304);
  });

  test("RFC 8200 section 4.5: an inner fragment that is no multiple of 8 is a problem of the payload length", () => {
    expect(go(44, [17, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 0, problemPointer: 4 });
    expect(go(44, [17, 0, 0, 8, 0, 0, 0, 0, 1, 2, 3])).toBe(ext.WALK_FRAGMENT);
  });

  test("RFC 8200 section 4.5: a fragment that ends beyond 65535 is a problem of its offset", () => {
    expect(go(44, [17, 0, 0xff, 0xf8, 0, 0, 0, 0, ...UDP])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 0, problemPointer: 42 });
  });

  test("RFC 4443 section 3.4: an unknown next header is named by the byte that holds it", () => {
    expect(go(99, [])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 1, problemPointer: 6 });
    expect(go(60, [99, 0, ...PAD])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 1, problemPointer: 40 });
  });

  test("RFC 8200 section 4.1: hop-by-hop options anywhere but first are an unknown header", () => {
    expect(go(60, [0, 0, ...PAD, 17, 0, ...PAD, ...UDP])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 1, problemPointer: 40 });
  });

  test("RFC 8200 section 4.4: a routing header with segments left is a problem of its type", () => {
    expect(go(43, [17, 0, 0, 1, 0, 0, 0, 0, ...UDP])).toBe(ext.WALK_PROBLEM);
    expect(walk).toMatchObject({ problemCode: 0, problemPointer: 42 });
  });

  test.each([
    [0x1e, "fec0::2", ext.WALK_UPPER, false],
    [0x5e, "fec0::2", ext.WALK_DROP, false],
    [0x9e, "ff02::1", ext.WALK_PROBLEM, true],
    [0xde, "ff02::1", ext.WALK_PROBLEM, false],
    [0xde, "fec0::2", ext.WALK_PROBLEM, true],
  ])("RFC 8200 section 4.2: unknown option %i towards %s", (option, dst, outcome, reported) => {
    const bytes = packet(60, [17, 0, 0, option, 2, 0, 0, 0, ...UDP], dst);
    expect(ext.ipv6Walk(bytes, 0, walk)).toBe(outcome);
    if (outcome !== ext.WALK_PROBLEM) return;
    expect(walk).toMatchObject({ problemCode: 2, problemPointer: 43 });
    expect(ext.ipv6ProblemReported(bytes, 0, walk)).toBe(reported);
  });

  test.each([
    ["an option beyond its header", 0, [17, 0, 5, 5, 0, 0, 0, 0, ...UDP]],
    ["an option's type as the last byte", 0, [17, 0, 1, 3, 0, 0, 0, 5, ...UDP]],
    ["a header beyond the packet", 60, [17, 9, ...PAD]],
    ["half a header", 60, [17, 0, 0]],
    ["two fragment headers", 44, [44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, ...UDP]],
    ["a long chain", 60, Array.from({ length: 100 }, () => [60, 0, ...PAD]).flat()],
  ])("%s is dropped", (_name, next, payload) => {
    expect(go(next, payload)).toBe(ext.WALK_DROP);
  });

  test("RFC 8504 section 5.3: eight headers are followed, a ninth is not", () => {
    const chain = (length: number): number[] => {
      const headers = Array.from({ length: length - 1 }, () => [60, 0, ...PAD]);
      return [...headers.flat(), 17, 0, ...PAD, ...UDP];
    };
    expect(go(60, chain(8))).toBe(ext.WALK_UPPER);
    expect(go(60, chain(9))).toBe(ext.WALK_DROP);
  });

  test("a look passes authentication and what nothing here speaks, and stops at a later fragment", () => {
    const looked = ext.newIpv6Walk();
    const look = (next: number, payload: readonly number[]): number => {
      const bytes = packet(next, payload);
      return ext.ipv6Look(bytes, 0, bytes.length, looked);
    };
    expect(look(51, [17, 1, ...PAD, 0, 0, 0, 0, ...UDP])).toBe(ext.WALK_UPPER);
    expect(looked).toMatchObject({ proto: 17, payloadAt: 52, payloadLen: 8, routed: false });
    expect(look(43, [99, 0, 0, 1, 0, 0, 0, 0])).toBe(ext.WALK_UPPER);
    expect(looked).toMatchObject({ proto: 99, payloadAt: 48, routed: true });
    expect(look(44, [60, 0, 0, 9, 0, 0, 0, 0, ...UDP])).toBe(ext.WALK_FRAGMENT);
    expect(looked).toMatchObject({ proto: 60, payloadAt: 48, fragmentOffset: 8 });
    expect(look(44, [17, 0, 0, 1, 0, 0, 0, 0, ...UDP])).toBe(ext.WALK_UPPER);
    expect(looked).toMatchObject({ proto: 17, fragmentAt: 40, moreFragments: true });
    expect(look(60, [17, 9, ...PAD])).toBe(ext.WALK_DROP);
    expect(look(60, Array.from({ length: 100 }, () => [60, 0, ...PAD]).flat())).toBe(ext.WALK_DROP);
  });

  test("property: whoever looks on finds what the stack finds, and so does a filter", () => {
    const heads = fc.constantFrom(0, 6, 17, 43, 44, 58, 59, 60);
    const header = fc.tuple(heads, fc.constantFrom(0, 0, 0, 1), fc.constantFrom(0, 0, 8), fc.constantFrom(0, 1));
    const looked = ext.newIpv6Walk();
    const facts = frameFacts();
    let agreed = 0;
    fc.assert(
      fc.property(heads, fc.array(header, { maxLength: 9 }), fc.nat(8), (next, headers, cut) => {
        const bytes = headers.flatMap(([n, l, hi, lo]) => [n, l, 0, hi | lo, ...new Array<number>(4 + 8 * l).fill(0)]);
        const payload = [...bytes.slice(0, Math.max(0, bytes.length - cut)), ...UDP];
        const outcome = go(next, payload);
        const whole = packet(next, payload);
        const frame = Uint8Array.from([...new Array<number>(12).fill(2), 0x86, 0xdd, ...whole]);
        const seen = ext.ipv6Look(frame, 14, frame.length, looked);
        readFacts(facts, frame, 0, frame.length);
        if (seen !== ext.WALK_DROP) {
          expect(looked.payloadAt + looked.payloadLen).toBe(frame.length);
          expect([facts.proto, facts.payload]).toEqual([looked.proto, looked.payloadAt]);
        }
        const first = outcome === ext.WALK_FRAGMENT && walk.fragmentOffset === 0;
        if (outcome === ext.WALK_PROBLEM || outcome === ext.WALK_DROP) return;
        if (first) {
          expect(looked.fragmentAt).toBe(14 + walk.fragmentAt);
          return;
        }
        agreed++;
        expect(seen).toBe(outcome);
        expect([looked.proto, looked.payloadAt - 14, looked.payloadLen]).toEqual([
          walk.proto,
          walk.payloadAt,
          walk.payloadLen,
        ]);
        expect(looked.fragmentAt < 0 ? -1 : looked.fragmentAt - 14).toBe(walk.fragmentAt);
        expect(looked.routed).toBe(false);
      }),
      { numRuns: 2_000 },
    );
    expect(agreed).toBeGreaterThan(200);
  });

  test("property: whatever the bytes, the walk ends within the packet", () => {
    const heads = fc.constantFrom(0, 6, 17, 43, 44, 51, 58, 59, 60, 255);
    const header = fc.tuple(heads, fc.constantFrom(0, 0, 0, 1, 255), fc.uint8Array({ minLength: 6, maxLength: 6 }));
    fc.assert(
      fc.property(heads, fc.array(header, { maxLength: 12 }), fc.nat(8), (next, headers, cut) => {
        const bytes = headers.flatMap(([n, l, rest]) => [n, l, ...rest]);
        const payload = bytes.slice(0, Math.max(0, bytes.length - cut));
        const outcome = go(next, payload, 16);
        if (outcome === ext.WALK_UPPER || outcome === ext.WALK_FRAGMENT) {
          expect(walk.payloadAt).toBeGreaterThanOrEqual(40);
          expect(walk.payloadLen).toBeGreaterThanOrEqual(0);
          expect(walk.payloadAt + walk.payloadLen).toBe(40 + payload.length);
        }
        if (outcome === ext.WALK_PROBLEM) expect(walk.problemPointer).toBeLessThan(40 + payload.length);
      }),
    );
  });
});
