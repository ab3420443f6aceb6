import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as wire from "../../src/wire/dhcp.ts";
import { ascii, message } from "../proto/dhcp-script.ts";

function option(bytes: Uint8Array, code: number): number[] | null {
  const value = wire.dhcpOption(bytes, 0, bytes.length, code);
  return value === null ? null : [...value];
}

describe("check", () => {
  test("240 bytes with the cookie are a message, 239 are not (CVE-2021-3592)", () => {
    const bytes = message({ type: 0 });
    expect(wire.dhcpCheck(bytes, 0, 240)).toBe(true);
    expect(wire.dhcpCheck(bytes, 0, 239)).toBe(false);
  });

  test("without the cookie only 300 bytes or more are BOOTP (RFC 951 section 3)", () => {
    const bytes = message({ cookie: false, pad: 300 });
    expect(wire.dhcpCheck(bytes, 0, 300)).toBe(true);
    expect(wire.dhcpCheck(bytes, 0, 299)).toBe(false);
  });

  test.each([0, 5, 7, 16, 255])("hlen %i is refused", (hlen) => {
    const bytes = message({ hlen });
    expect(wire.dhcpCheck(bytes, 0, bytes.length)).toBe(false);
  });

  test("a reply (op 2) is not a client's message", () => {
    const bytes = message({ op: 2 });
    expect(wire.dhcpCheck(bytes, 0, bytes.length)).toBe(false);
  });
});

describe("reading options", () => {
  test("pads are skipped, and nothing counts behind the end option", () => {
    const bytes = message({ raw: [0, 0, 12, 1, 65, 255, 15, 1, 66] });
    expect(option(bytes, 12)).toEqual([65]);
    expect(option(bytes, 15)).toBeNull();
  });

  test("an empty option is there and empty", () => {
    expect(option(message({ raw: [80, 0, 12, 1, 65] }), 80)).toEqual([]);
    expect(option(message({ raw: [80, 0, 12, 1, 65] }), 12)).toEqual([65]);
  });

  test("a length beyond the message ends the reading", () => {
    const bytes = message({ raw: [12, 200, 65] });
    expect(option(bytes, 12)).toBeNull();
    expect(option(bytes, 53)).toEqual([1]);
  });

  test("a code at the very last byte has no length", () => {
    const bytes = message({ raw: [12] });
    expect(option(bytes.subarray(0, bytes.length - 1), 12)).toBeNull();
  });

  test("no option is read without the cookie", () => {
    expect(option(message({ cookie: false, pad: 300 }), 53)).toBeNull();
  });

  test("an option in pieces is joined (RFC 3396 section 7)", () => {
    expect(option(message({ raw: [43, 2, 1, 2, 12, 1, 65, 43, 1, 3] }), 43)).toEqual([1, 2, 3]);
  });

  test("option 52 opens `file`, then `sname` (RFC 2131 section 4.1)", () => {
    for (const [overload, expected] of [
      [0, [1]],
      [1, [1, 2]],
      [2, [1, 3]],
      [3, [1, 2, 3]],
    ] as const) {
      const bytes = message({ raw: [43, 1, 1, 52, 1, overload] });
      bytes.set([43, 1, 2, 255], 108);
      bytes.set([43, 1, 3, 255], 44);
      expect(option(bytes, 43)).toEqual(expected);
    }
  });

  test("options in `file` and `sname` end with their fields, and cannot open a field themselves", () => {
    const bytes = message({ raw: [52, 1, 1] });
    bytes.set([52, 1, 3, 0], 108);
    bytes.set([12, 40], 108 + 126);
    bytes.set([15, 1, 66], 44);
    expect(option(bytes, 12)).toBeNull();
    expect(option(bytes, 15)).toBeNull();
  });

  test("property: reading any bytes at any length ends, and finds nothing that is not there", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 0, max: 255 }), (tail, code) => {
        const bytes = message({ raw: [...tail] });
        const value = wire.dhcpOption(bytes, 0, bytes.length, code);
        expect(value === null || value.length <= bytes.length - 240 + 192).toBe(true);
      }),
    );
  });

  test("65 kB of one-byte pieces are read in reasonable time", () => {
    const raw = new Array(21_000).fill([61, 1, 7]).flat();
    const bytes = message({ raw });
    expect(option(bytes, 61)).toHaveLength(21_000);
  });
});

describe("writing", () => {
  const request = message({});
  const build = (limit: number, options: wire.DhcpOption[], overload = true, file = ""): Uint8Array => {
    const out = new Uint8Array(1472).fill(0xa5);
    wire.dhcpWriteHeader(out, limit, request, 0, 0, 0, 0);
    wire.dhcpWriteFile(out, Uint8Array.from(ascii(file)));
    return out.subarray(0, wire.dhcpWriteOptions(out, limit, options, overload));
  };
  const filled = (code: number, length: number): wire.DhcpOption => ({ code, data: new Uint8Array(length).fill(code) });

  test("a short reply is padded to 300 bytes with zeros (RFC 1542 section 2.1)", () => {
    const bytes = build(548, [filled(53, 1)]);
    expect(bytes).toHaveLength(300);
    expect([...bytes.subarray(240, 244)]).toEqual([53, 1, 53, 255]);
    expect(bytes.subarray(244).every((byte) => byte === 0)).toBe(true);
  });

  test("more than 255 bytes go out in pieces (RFC 3396)", () => {
    const bytes = build(1472, [filled(119, 300)]);
    expect([bytes[240], bytes[241], bytes[240 + 257], bytes[240 + 258]]).toEqual([119, 255, 119, 45]);
    expect(option(bytes, 119)).toHaveLength(300);
  });

  test("what does not fit goes into `file`, then `sname`, and option 52 says so", () => {
    const bytes = build(548, [filled(53, 1), filled(15, 250), filled(119, 120), filled(66, 40)]);
    expect(bytes.length).toBeLessThanOrEqual(548);
    expect(option(bytes, 52)).toEqual([1]);
    expect(option(bytes, 119)).toHaveLength(120);
    const both = build(548, [filled(53, 1), filled(15, 250), filled(119, 120), filled(66, 60)]);
    expect(option(both, 52)).toEqual([3]);
    expect(option(both, 66)).toHaveLength(60);
  });

  test("a boot file in `file` is not overwritten by options", () => {
    const bytes = build(548, [filled(53, 1), filled(15, 250), filled(66, 60)], true, "boot.ipxe");
    expect(option(bytes, 52)).toEqual([2]);
    expect([...bytes.subarray(108, 118)]).toEqual([...ascii("boot.ipxe"), 0]);
  });

  test("BOOTP knows no overload: the unimportant is left out", () => {
    const bytes = build(300, [filled(1, 4), filled(15, 100), filled(6, 4)], false);
    expect(bytes).toHaveLength(300);
    expect([option(bytes, 1), option(bytes, 15), option(bytes, 6)]).toEqual([[1, 1, 1, 1], null, [6, 6, 6, 6]]);
    expect(option(bytes, 52)).toBeNull();
  });

  test("names that fill their fields leave room for a NUL", () => {
    const out = new Uint8Array(548);
    wire.dhcpWriteFile(out, new Uint8Array(128).fill(65));
    wire.dhcpWriteServerName(out, new Uint8Array(64).fill(65));
    expect(out.every((byte) => byte === 0)).toBe(true);
    wire.dhcpWriteFile(out, new Uint8Array(wire.DHCP_FILE_MAX).fill(65));
    expect([out[108 + 126], out[108 + 127]]).toEqual([65, 0]);
    wire.dhcpWriteServerName(out, new Uint8Array(wire.DHCP_SNAME_MAX).fill(65));
    expect([out[44 + 62], out[44 + 63]]).toEqual([65, 0]);
  });

  test("property: never beyond the limit, and what is written is read back", () => {
    const options = fc.array(fc.tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 400 })), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(options, fc.integer({ min: 300, max: 1472 }), fc.boolean(), (sizes, limit, overload) => {
        const unique = [...new Map(sizes)].filter(([code]) => code !== 52).map(([code, size]) => filled(code, size));
        const bytes = build(limit, unique, overload);
        expect(bytes.length).toBeLessThanOrEqual(limit);
        for (const sent of unique) {
          const got = option(bytes, sent.code);
          if (got !== null) expect(got).toEqual([...sent.data]);
        }
        if (240 + wire.dhcpOptionsSize(unique) <= limit) {
          expect(unique.every((sent) => option(bytes, sent.code) !== null)).toBe(true);
        }
      }),
    );
  });
});

describe("search list (RFC 3397)", () => {
  test("one name, as in DNS", () => {
    expect([...wire.dhcpSearchList(["lab.test"])]).toEqual([3, ...ascii("lab"), 4, ...ascii("test"), 0]);
  });

  test("RFC 3397's example: a common tail is a pointer into the option", () => {
    expect([...wire.dhcpSearchList(["eng.apple.com.", "marketing.apple.com."])]).toEqual([
      3,
      ...ascii("eng"),
      5,
      ...ascii("apple"),
      3,
      ...ascii("com"),
      0,
      9,
      ...ascii("marketing"),
      0xc0,
      0x04,
    ]);
  });

  test("a name said before is one pointer", () => {
    expect([...wire.dhcpSearchList(["a.b", "a.b"])].slice(-2)).toEqual([0xc0, 0]);
  });

  test("what DNS cannot carry is left out", () => {
    const list = wire.dhcpSearchList(["", "a..b", `${"x".repeat(64)}.test`, "bücher.test", "a.".repeat(140), "ok"]);
    expect([...list]).toEqual([2, ...ascii("ok"), 0]);
  });
});
